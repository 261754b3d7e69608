"""Which other systems tell us about people and orders, and what became of what they sent?"""

from datetime import UTC, datetime, timedelta
from functools import partial

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, markup, session, source_form, words
from dashboard.sources_client import Field, Source, Taken

PAGE = 25
STATES = {"": "All", "applied": "Took effect", "partly": "In part", "failed": "Not"}


def _made() -> None:
    """The address and the secret of a source that was just made: shown once."""
    made = st.session_state.get("made_source")
    if not isinstance(made, Source):
        return
    with st.container(border=True):
        st.success(f"{made.name} is on. Give the other system this address:")
        st.code(made.url, language=None, wrap_lines=True)
        if made.secret:
            st.markdown("and this secret, which is not shown again:")
            st.code(made.secret, language=None, wrap_lines=True)
        if st.button("I have them", key="made_source_seen"):
            del st.session_state["made_source"]
            st.rerun()


def _card(source: Source, fields: list[Field], zone: str, *, may_change: bool) -> None:
    with st.container(border=True, key=f"source_{source.id}"):
        st.markdown(f"**{markup.markdown_text(source.name)}**")
        st.code(source.url, language=None, wrap_lines=True)
        facts = [source_form.MAKES[source.makes], source_form.SCHEMES[source.scheme], f"{len(source.mapping)} fields"]
        if source.refused:
            facts.append(f"{source.refused:,} refused for their signature")
        st.caption(markup.markdown_text(" · ".join(facts)))
        if source.disabled_at is not None:
            st.warning(f"Off since {format.instant(source.disabled_at, zone)}: what it sends is refused.")
        if source.rotated_at is not None and datetime.now(UTC) - source.rotated_at < timedelta(days=1):
            until = format.instant(source.rotated_at + timedelta(days=1), zone)
            st.info(f"The secret was changed: the one before is valid until {until}.")
        if may_change:
            _buttons(source)
        if st.toggle("Show what it sent", key=f"source_log_{source.id}"):
            _log(source, zone, may_change=may_change)
        if may_change and st.session_state.get("edited_source") == source.id:
            source_form.form(source, fields)


def _buttons(source: Source) -> None:
    client = session.sources()
    with st.container(horizontal=True, gap="small"):
        if st.button("Edit", key=f"source_edit_{source.id}"):
            is_open = st.session_state.get("edited_source") == source.id
            st.session_state["edited_source"] = None if is_open else source.id
            st.rerun()
        with st.popover("New secret", key=f"source_rotate_{source.id}"):
            st.caption("The one before is valid for another 24 hours.")
            theirs = st.text_input("Their own, or empty for one of ours", type="password", key=f"theirs_{source.id}")
            if st.button("Change it", key=f"source_rotated_{source.id}"):
                fresh = client.rotate(source.id, (theirs or "").strip())
                st.code(fresh, language=None, wrap_lines=True) if fresh else st.success("Their secret is in use.")
        off = source.disabled_at is not None
        if st.button("Turn on" if off else "Turn off", key=f"source_switch_{source.id}"):
            client.switch(source.id, on=off)
            st.rerun()
        with st.popover("Remove", key=f"source_remove_{source.id}"):
            st.caption("The address and the log of what it sent go. People and orders stay.")
            if st.button("Remove it", key=f"source_really_{source.id}"):
                client.remove(source.id)
                st.rerun()


def _log(source: Source, zone: str, *, may_change: bool) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        status = st.segmented_control(
            "Show",
            list(STATES),
            default="",
            required=True,
            format_func=STATES.__getitem__,
            key=f"source_state_{source.id}",
        )
    with right:
        q = st.text_input("Search", key=f"source_q_{source.id}", placeholder="id or reason")
    cursors = st.session_state.setdefault(f"source_cursors_{source.id}_{status}_{q}", [""])
    if done := st.session_state.pop(f"source_again_{source.id}", None):
        st.success(done)
    shown: dict[str, str] = {"status": str(status or ""), "q": q or ""}
    page = session.sources().taken(source.id, cursor=cursors[-1], limit=PAGE, **shown)
    if not page.items:
        st.caption("Nothing of this kind." if any(shown.values()) else "Nothing yet.")
        return
    controls.table(
        {
            "When": [format.instant(row.created_at, zone) for row in page.items],
            "Took effect": [STATES.get(row.status, words.plain(row.status)) for row in page.items],
            "What": [", ".join(f"{count:,} {name}" for name, count in row.counts.items()) for row in page.items],
            "Why not": [row.reason or "" for row in page.items],
            "Tries": [str(row.tries) for row in page.items],
            "Id": [_short(row.key) for row in page.items],
        }
    )
    read = partial(session.sources().taken_csv, source.id, **shown)
    controls.csv_button("Save as CSV", read, f"{source.name}.csv", key=f"source_csv_{source.id}")
    controls.pager(page.next, cursors, key=f"source_pages_{source.id}")
    if may_change:
        _again(source, [row for row in page.items if row.kept], zone)


def _short(key: str) -> str:
    return key if len(key) <= 16 else f"…{key[-12:]}"


def _again(source: Source, kept: list[Taken], zone: str) -> None:
    """Try kept bodies again, or look at one to mend the mapping."""
    if not kept:
        return
    client = session.sources()
    by_id = {row.id: row for row in kept}
    chosen = st.selectbox(
        "One that did not take effect",
        list(by_id),
        format_func=lambda each: f"{format.instant(by_id[each].created_at, zone)} · {by_id[each].reason}",
        key=f"source_chosen_{source.id}",
    )
    with st.container(horizontal=True, gap="small"):
        look = st.button("Show its body", key=f"source_look_{source.id}", help="Who looked is on record.")
        one = st.button("Try this one again", key=f"source_one_{source.id}")
        every = st.button("Try all again", key=f"source_all_{source.id}", type="primary")
    if look:
        st.code(client.body(source.id, chosen), language="json", wrap_lines=True)
    if one:
        _one_again(source, chosen)
    if every:
        _all_again(source)


def _one_again(source: Source, chosen: str) -> None:
    tried = session.sources().replay_one(source.id, chosen)
    if tried.status != "applied":
        source_form.show(tried)
        return
    st.session_state[f"source_again_{source.id}"] = "It took effect."
    st.rerun()


def _all_again(source: Source) -> None:
    """Goes on until every kept body was tried, then shows the list as it is now."""
    client = session.sources()
    tried, applied = 0, 0
    with st.status("Trying again …") as progress:
        done = client.replay(source.id, None)
        tried, applied = done.tried, done.applied
        while done.next:
            progress.update(label=f"{tried:,} tried, {applied:,} took effect …")
            done = client.replay(source.id, done.next)
            tried, applied = tried + done.tried, applied + done.applied
    st.session_state[f"source_again_{source.id}"] = f"{tried:,} tried, {applied:,} took effect."
    st.rerun()


st.title("Webhooks from others")
st.caption(
    "A shop or a CRM posts what changed, signed with a secret: it makes and changes people, records orders and events. "
    "It never gives consent, and nobody who opted out or was erased comes back. Each delivery counts once."
)
may_change = session.role() == Role.ADMIN
_made()
q = st.text_input("Search sources", key="sources_q", placeholder="Part of the name", label_visibility="collapsed")
cursors = st.session_state.setdefault(f"sources_cursors_{q}", [""])
known = session.sources().sources(q, cursor=cursors[-1])
fields = session.sources().fields()
if not known.items:
    st.info("No source has this name." if q else "No other system sends anything yet.")
for each in known.items:
    with session.guard(each.id):
        _card(each, fields, get_settings().time_zone, may_change=may_change)
controls.pager(known.next, cursors, key="sources_pages")
if may_change:
    with st.expander("New source", icon=":material/add:", expanded=not known.items), session.guard("new_source"):
        source_form.form(None, fields)
