"""Who is this person, what do they allow, and what happened with them?"""

from datetime import UTC, datetime
from functools import partial

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, markup, session, timeline, words
from dashboard.payloads import Json
from dashboard.people_payloads import Attribute, Contact, Held, Profile

OFFICERS = frozenset({Role.COMPLIANCE, Role.ADMIN})
TALKERS = frozenset({Role.ADMIN, Role.MARKETER, Role.APPROVER, Role.COMPLIANCE})
EDITORS = frozenset({Role.COMPLIANCE, Role.ADMIN, Role.MARKETER})
SHORTEST_REASON = 5
GONE = {
    "messages_cancelled": "messages that waited",
    "message_texts": "texts of messages",
    "inbound_messages": "messages they wrote",
    "received_files": "files they sent",
    "answered_files": "files sent to them",
    "webhook_bodies": "reports of WhatsApp",
    "evidence": "pieces of evidence",
    "addresses": "addresses",
    "attributes": "attributes and tags",
    "import_rows": "rows of imports",
    "import_files": "uploaded files",
    "export_files": "audit packages",
    "link_addresses": "link addresses",
    "campaign_samples": "samples in reviews",
    "audience_memberships": "memberships of lists",
}


def _name(contact: Contact) -> str:
    return f"{contact.name or 'No name'} · {contact.phone_masked or 'no number'}"


def _found(zone: str) -> str | None:
    """The search and the choice among what it found; the contact's id."""
    words_given = (
        st.text_input(
            "Find a person",
            key="contact_search",
            placeholder="Name, number in any spelling, or id",
        )
        or ""
    ).strip()
    if st.session_state.get("contact_searched") != words_given:
        st.session_state["contact_searched"], st.session_state["contact_cursors"] = words_given, [""]
    cursors: list[str] = st.session_state.setdefault("contact_cursors", [""])
    page = session.people().contacts(words_given, cursor=cursors[-1])
    if not page.items:
        st.info("Nobody fits. A number needs its country's prefix, unless it is of the home country.")
        return None
    by_id = {contact.id: contact for contact in page.items}
    if len(by_id) > 1:
        controls.table(
            {
                "Name": [contact.name or format.DASH for contact in page.items],
                "Number": [contact.phone_masked or format.DASH for contact in page.items],
                "Country": [contact.country or format.DASH for contact in page.items],
                "Last wrote": [format.instant(contact.last_seen_at, zone) for contact in page.items],
                "Tags": [", ".join(contact.tags) or "none" for contact in page.items],
            }
        )
        _pager(page.next, cursors)
    chosen = st.selectbox(
        "Person",
        list(by_id),
        index=0 if len(by_id) == 1 else None,
        format_func=lambda one: _name(by_id[one]),
        key=f"contact_{cursors[-1]}_{words_given}",
        placeholder="Choose a person",
    )
    return str(chosen) if chosen else None


def _pager(following: str | None, cursors: list[str]) -> None:
    with st.container(horizontal=True):
        if len(cursors) > 1 and st.button("Newer", key="contacts_newer", icon=":material/chevron_left:"):
            cursors.pop()
            st.rerun()
        if following and st.button("Older", key="contacts_older", icon=":material/chevron_right:"):
            cursors.append(following)
            st.rerun()


def _head(profile: Profile, zone: str) -> None:
    contact = profile.contact
    st.subheader(markup.markdown_text(contact.name or "No name"))
    facts = [contact.phone_masked or "no number", contact.country, contact.language, contact.time_zone]
    facts.append(f"since {format.instant(contact.created_at, zone)}")
    st.caption(markup.markdown_text(" · ".join(fact for fact in facts if fact)))
    if contact.erased_at:
        st.warning(f"Erased on {format.instant(contact.erased_at, zone)}. Only the sealed records are left.")
    elif contact.merged_into:
        st.info("This contact became a part of another one. Its history stays here.")
    elif contact.closed_at:
        st.info("The number belongs to somebody else now.")
    tiles = controls.cells(5, min_width=130)
    counts = profile.counts
    for place, (label, value) in enumerate(
        (
            ("Messages", format.count(counts.messages)),
            ("Opened", format.rate(counts.read, counts.delivered, "delivered").split(" (")[0]),
            ("Clicks", format.count(counts.clicks)),
            ("Orders", format.count(counts.orders)),
            ("Net revenue", format.money(counts.revenue_micros, profile.currency)),
        )
    ):
        tiles[place].metric(label, value)
    tiles[1].caption(f"{format.count(counts.read)} / {format.count(counts.delivered)} delivered")


def _chats(contact_id: str) -> None:
    """Links to what was said with the person, a conversation per number of ours; for those who have the inbox."""
    if session.role() not in TALKERS:
        return
    found = session.client().conversations(contact_id=contact_id, limit=10).items
    for row in found:
        label = "Open the conversation" if len(found) == 1 else f"Open the conversation with {row.sender}"
        controls.conversation_link(row.id, label)


def _permissions(profile: Profile, zone: str) -> None:
    if not profile.permissions:
        st.info("Nothing is recorded about this person's consent, so no campaign reaches them.")
        return
    controls.table(
        {
            "Purpose": [words.purpose(state.purpose) for state in profile.permissions],
            "State": [words.consent_state(state.state) for state in profile.permissions],
            "Grade": [state.grade or format.DASH for state in profile.permissions],
            "Until": [format.instant(state.expires_at, zone) for state in profile.permissions],
            "Because of": [words.consent_reason(state.reason) for state in profile.permissions],
            "Blocked by": [
                ", ".join(words.reason(each) for each in state.overlays) or format.DASH for state in profile.permissions
            ],
        }
    )


def _act_on_consent(profile: Profile) -> None:
    """What a person asks for by letter or on the phone: no more marketing, or nothing at all for now."""
    contact = profile.contact
    if contact.erased_at or contact.closed_at:
        return

    def opt_out(reason: str) -> None:
        key = controls.once_key(f"opt_out_{contact.id}")
        session.people().opt_out(contact.id, reason, datetime.now(UTC).isoformat(), key)
        controls.done_with(f"opt_out_{contact.id}")

    is_held = any("hold" in state.overlays for state in profile.permissions)
    with st.container(horizontal=True):
        controls.ask_reason(
            "Record an opt-out",
            key="opt_out",
            act=opt_out,
            help_text="All marketing ends at once, and only the person can agree again. How did they say so?",
        )
        verb, label = ("release", "Lift the hold") if is_held else ("place", "Place a hold")
        controls.ask_reason(
            label,
            key="hold",
            act=lambda reason: session.people().hold(contact.id, verb, reason),
            help_text="Messages go to this person again."
            if is_held
            else "Nothing at all is sent until somebody lifts it. What did they ask for?",
        )


def _timeline(contact_id: str, zone: str) -> None:
    key = f"timeline_{contact_id}"
    pages: list[str] = st.session_state.setdefault(key, [""])
    happenings, following = [], None
    for cursor in pages:
        page = session.people().timeline(contact_id, cursor=cursor)
        happenings += page.items
        following = page.next
    controls.table(
        {
            "When": [format.instant(each.at, zone) for each in happenings],
            "What": [timeline.kind(each) for each in happenings],
            "What happened": [timeline.sentence(each) for each in happenings],
        }
    )
    if following and st.button("Show earlier", key="timeline_more"):
        pages.append(following)
        st.rerun()


def _value(attribute: Attribute | None, name: str, value: object) -> object:
    """One attribute's widget, by its kind; what is typed, or None to remove it."""
    key = f"attribute_{name}"
    if attribute is not None and attribute.kind == "boolean":
        shown = {"": format.DASH, "true": "yes", "false": "no"}
        start = list(shown).index(str(value).lower()) if str(value).lower() in shown else 0
        return st.selectbox(name, list(shown), index=start, format_func=shown.__getitem__, key=key) or None
    if attribute is not None and attribute.kind == "choice":
        options = ["", *attribute.choices]
        index = options.index(str(value)) if value in options else 0
        return st.selectbox(name, options, index=index, key=key) or None
    hint = {"number": "12.5", "date": "2026-10-01"}.get(attribute.kind if attribute else "", "")
    text = st.text_input(name, value="" if value is None else str(value), key=key, placeholder=hint)
    return (text or "").strip() or None


def _details(profile: Profile) -> None:
    contact = profile.contact
    known = {attribute.name: attribute for attribute in session.people().attributes()}
    names = sorted({*known, *contact.attributes})
    if session.role() not in EDITORS or contact.erased_at or contact.closed_at:
        shown = {"Tags": ", ".join(contact.tags) or format.DASH} | {
            name: str(contact.attributes.get(name, format.DASH)) for name in names
        }
        controls.table({"What": list(shown), "Value": list(shown.values())})
        return
    with st.form("edit_contact", border=False):
        fields: Json = {}
        columns = st.columns(2)
        for place, (field, label) in enumerate(
            (("name", "Name"), ("language", "Language"), ("country", "Country"), ("time_zone", "Time zone"))
        ):
            with columns[place % 2]:
                start = getattr(contact, field)
                fields[field] = (st.text_input(label, value=start or "", key=f"edit_{field}") or "").strip() or None
        tags = st.text_input("Tags, with commas between", value=", ".join(contact.tags), key="edit_tags") or ""
        values = {}
        columns = st.columns(2)
        for place, name in enumerate(names):
            with columns[place % 2]:
                values[name] = _value(known.get(name), name, contact.attributes.get(name))
        saved = st.form_submit_button("Save", type="primary", key="save_contact")
    if saved:
        fields["tags"] = [tag.strip() for tag in tags.split(",") if tag.strip()]
        fields["attributes"] = {**values}
        session.people().edit_contact(contact.id, fields)
        st.toast("Saved.")
        st.rerun()
    _merge(contact)


def _merge(contact: Contact) -> None:
    with st.popover("This is the same person as…", icon=":material/merge:"):
        st.caption(
            "The other contact becomes a part of this one: addresses, lists and tags move here, both histories stay, "
            "and what one of them refused, both have refused. There is no way back."
        )
        other = (st.text_input("Number or id of the other one", key="merge_other") or "").strip()
        reason = (st.text_input("How do you know?", key="merge_reason", max_chars=200) or "").strip()
        if other and reason:
            found = [each for each in session.people().contacts(other).items if each.id != contact.id]
            if len(found) != 1:
                st.warning("Exactly one other contact must fit.")
            elif st.button(f"Merge with {_name(found[0])}", key="merge_button", type="primary"):
                session.people().merge_contacts(contact.id, found[0].id, reason)
                st.rerun()


def _held(held: Held, zone: str) -> str:
    """What is kept for a while, as the person has to be told it."""
    until, proofs, addresses = (
        format.instant(held.until, zone),
        format.count(held.evidence),
        format.count(held.addresses),
    )
    return (
        f"Kept sealed until {until}, because of {held.rule}: consent evidence ({proofs}) and addresses ({addresses})."
        " Nothing here can read them, and then they are destroyed. Tell the person."
    )


def _rights(contact: Contact, zone: str) -> None:
    """Copies of the data, and erasure with a rehearsal first."""
    reason = (st.text_input("Reason (it is kept in the audit log)", key="rights_reason", max_chars=300) or "").strip()
    if len(reason) < SHORTEST_REASON:
        st.caption("Say why first, in a few words and without the person's name or number.")
        return
    client, contact_id = session.people(), contact.id
    st.markdown("**A copy for the person**")
    with st.container(horizontal=True):
        for label, kind, form, mime in (
            ("Everything, to read", "access", "html", "text/html"),
            ("Everything, for programs", "access", "json", "application/json"),
            ("What they gave, to take along", "portability", "json", "application/json"),
        ):
            asked = form if kind == "access" else ""
            st.download_button(
                label,
                partial(client.copy_of_data, contact_id, kind, reason, asked),
                file_name=f"{kind}-{contact_id[-6:]}.{form}",
                mime=mime,
                key=f"copy_{kind}_{form}",
            )
    st.markdown("**Erase the person**")
    if contact.erased_at:
        st.caption("They are erased.")
        return
    if st.button("Show what would go", key="rehearse"):
        st.session_state["rehearsed"] = contact_id
    if st.session_state.get("rehearsed") != contact_id:
        return
    rehearsal = client.erase(contact_id, reason, really=False)
    gone = {GONE.get(name, words.plain(name).lower()): count for name, count in rehearsal.erased.items() if count}
    controls.table({"Goes for good": list(gone), "Number": [format.count(count) for count in gone.values()]})
    stays = {
        name: count for name, count in rehearsal.kept.items() if name not in ("sealed_evidence", "sealed_addresses")
    }
    kept = ", ".join(f"{format.count(count)} {name.replace('_', ' ')}" for name, count in stays.items())
    st.caption(f"Stays, and names nobody: {kept}. Their number stays refused.")
    if rehearsal.held:
        st.info(_held(rehearsal.held, zone))
    sure = st.checkbox("I have checked that this is the right person", key="erase_sure")
    if st.button("Erase for good", key="erase_button", type="primary", disabled=not sure):
        done = client.erase(contact_id, reason, really=True)
        st.session_state.pop("rehearsed")
        told = [f"Erased. Record {done.seq} of the ledger says so."]
        told += [_held(done.held, zone)] if done.held else []
        st.session_state["erasure_done"] = "  \n".join(told)
        st.rerun()


st.title("Contacts")
zone = get_settings().time_zone
if done := st.session_state.pop("erasure_done", None):
    st.success(done)
chosen = st.query_params.get("contact")  # another page leads to this person
if not chosen:
    chosen = _found(zone)
elif st.button("Look for somebody else", key="contact_other", icon=":material/search:"):
    del st.query_params["contact"]
    st.rerun()
if chosen:
    profile = session.people().profile(chosen)
    _head(profile, zone)
    _chats(chosen)
    labels = ["Timeline", "Consent", "Details"] + (["Data rights"] if session.role() in OFFICERS else [])
    tabs = st.tabs(labels)
    with tabs[0], session.guard("timeline"):
        _timeline(chosen, zone)
    with tabs[1]:
        _permissions(profile, zone)
        lists = ", ".join(each.name for each in profile.lists)
        st.caption(markup.markdown_text(f"On the lists: {lists}" if lists else "On no list."))
        if session.role() in OFFICERS:
            with session.guard("act_on_consent"):
                _act_on_consent(profile)
    with tabs[2], session.guard("details"):
        _details(profile)
    if session.role() in OFFICERS:
        with tabs[3], session.guard("rights"):
            _rights(profile.contact, zone)
