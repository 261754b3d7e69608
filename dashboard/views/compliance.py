"""Can we prove that everybody we message agreed?"""

import json
from datetime import UTC, datetime

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import audit_form, controls, format, markup, session, words
from dashboard.oversight_payloads import Fork, Recovery
from dashboard.payloads import Audit, ConsentTrail, Person

OFFICERS = frozenset({Role.COMPLIANCE, Role.ADMIN})  # an auditor reads packages, and makes none

# What a package holds, in the order people ask for it.
PACKAGED = {
    "people": "people",
    "consents": "consent records",
    "sends": "messages sent",
    "evidence": "pieces of evidence",
}
LONGEST_PROOF = 1_000  # characters of a piece of evidence that are shown; a package holds all of it
LIMITS = {
    "as_of_seq": "as of record",
    "contact_ids": "people",
    "grade": "grade of proof",
    "import_id": "import",
    "notice_id": "notice",
}


def _ledger(zone: str) -> None:
    ledger = session.client().ledger()
    left, middle, right = controls.cells(3, min_width=220)
    left.metric("Records in the ledger", format.count(ledger.size))
    checkpoint = ledger.checkpoint
    middle.metric("Sealed", format.count(checkpoint.size) if checkpoint else format.DASH)
    if checkpoint:
        middle.caption(f"{format.count(checkpoint.size)} / {format.count(ledger.size)} records")
        left.caption(f"last checkpoint {format.instant(checkpoint.created_at, zone)}")
    else:
        left.caption("no checkpoint has been signed yet")
    with right:
        st.caption("Fingerprint of the signing key: compare it with the one you noted when Kairan was installed")
        st.code(ledger.fingerprint or format.DASH, language=None, wrap_lines=True)
        if checkpoint:
            st.caption("Root of the last checkpoint")
            st.code(checkpoint.root, language=None, wrap_lines=True)


def _fork(fork: Fork, zone: str) -> None:
    """A backup was restored: what that means, and the way on."""
    st.error(
        f"**A restored database: marketing waits since {format.instant(fork.since, zone)}.**  \n"
        f"{markup.markdown_text(fork.reason)}"
    )
    if session.role() not in OFFICERS:
        return
    client = session.oversight()
    with st.container(border=True, key="recovery"):
        st.markdown("**Go on with this database**")
        st.caption(
            "Erases again who was erased since the backup and refuses again who said stop; the ledger says that it was"
            " done. Everything else that was recorded since the backup stays lost, so restore a newer one if you can."
        )
        reason = (st.text_input("Reason", key="recover_reason", max_chars=300) or "").strip()
        with st.container(horizontal=True):
            ready = len(reason) >= audit_form.SHORTEST_REASON
            if st.button("Show what it comes to", key="recover_look", disabled=not ready):
                st.session_state["recovery_plan"] = client.recover(reason, really=False)
            plan = st.session_state.get("recovery_plan")
            if plan and st.button("Recover", key="recover_do", type="primary", disabled=not ready):
                done = _recovered(reason, plan.people)
                if done.seq is not None:
                    del st.session_state["recovery_plan"]
                    st.toast(f"Recovered: record {done.seq} of the ledger says so.")
                    st.rerun()
                st.session_state["recovery_plan"] = plan = done
        if plan:
            _plan(plan)


def _recovered(reason: str, people: int) -> Recovery:
    """Goes on until nobody is left, or somebody cannot be erased yet."""
    client, erased = session.oversight(), 0
    with st.status("Recovering …") as progress:
        done = client.recover(reason, really=True)
        while done.left and done.erased and not done.waiting:
            erased += done.erased
            progress.update(label=f"{format.count(erased)} of {format.count(people)} people erased again …")
            done = client.recover(reason, really=True)
    return done


def _plan(plan: Recovery) -> None:
    left, right, _ = controls.cells(3, min_width=220)
    left.metric("People erased since, and there again", format.count(plan.people))
    right.metric("Other numbers to refuse again", format.count(plan.numbers))
    for why in plan.waiting:
        st.warning(f"Somebody cannot be erased yet: {why}.")


def _integrity(zone: str) -> None:
    """Whether the ledger was found as it was, and who outside keeps a checkpoint of it."""
    found = session.oversight().integrity()
    if found.fork:
        _fork(found.fork, zone)
    if found.unsigned_since:
        st.error(
            f"Nobody has signed the ledger since {format.instant(found.unsigned_since, zone)}. After an hour nothing "
            "goes out that needs a consent. Is a worker running, and can it read DATA_DIR/keys?",
            icon=":material/warning:",
        )
    check = found.latest
    if check is None:
        st.info("The ledger has not been checked as a whole yet; it is every night.")
    elif check.passed:
        st.success(
            f"Checked {format.instant(check.at, zone)}: all {format.count(check.size)} records are as they were."
        )
    else:
        st.error(f"Checked {format.instant(check.at, zone)}: the ledger is not as it was.")
        for finding in check.findings[:20]:
            st.caption(markup.markdown_text(finding))
    if found.anchors:
        controls.table(
            {
                "Given away": [format.instant(each.at, zone) for each in found.anchors],
                "Records": [format.count(each.size) for each in found.anchors],
                "How": [words.plain(each.kind) for each in found.anchors],
                "Where it is": [each.reference for each in found.anchors],
            }
        )
    else:
        st.caption("Nobody outside keeps a checkpoint yet: without one, a ledger rewritten as a whole is not noticed.")
    checkpoint = session.client().ledger().checkpoint
    if session.role() in OFFICERS:
        with st.container(horizontal=True):
            if st.button("Check it now", key="check_ledger", icon=":material/verified:"):
                session.oversight().ask_for_check()
                st.toast("A worker checks it; look again in a moment.")
            if checkpoint:
                _give_away(checkpoint.size)


def _give_away(size: int) -> None:
    client = session.oversight()
    with st.popover("Give a checkpoint away", icon=":material/outgoing_mail:"):
        st.caption("Hand the signed note to somebody outside, such as counsel, and write down where it is.")
        st.download_button(
            "Download the note",
            lambda: client.checkpoint_note(size),
            file_name=f"checkpoint-{size}.note",
            mime="text/plain",
            key="note_download",
        )
        kinds = ["email", "timestamp", "repository", "paper", "other"]
        kind = st.selectbox("How", kinds, format_func=words.plain, key="anchor_kind")
        where = (st.text_input("Where it is kept", key="anchor_where", max_chars=300) or "").strip()
        if st.button("Write it down", key="anchor_button", disabled=len(where) < 3):
            client.anchor(size, str(kind), where)
            st.rerun()


def _find() -> Person | None:
    with st.form("find", border=False):
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        with left:
            phone = st.text_input("Phone number", key="find_phone", type="phone", placeholder="+49 170 1234567")
        with right:
            st.form_submit_button("Find", key="find_button")
    if not phone:
        return None
    people = session.client().find_contacts(phone.strip())
    if not people:
        st.info("Nobody with this number is on file. Check the country prefix.")
        return None
    if len(people) == 1:
        return people[0]
    return st.selectbox("Several people had this number", people, format_func=_name, key="found")


def _name(person: Person) -> str:
    return f"{person.name or 'No name'} · {person.phone_masked or format.DASH}"


def _trail(person: Person, trail: ConsentTrail, zone: str) -> None:
    st.markdown(f"**{markup.markdown_text(_name(person))}**")
    if not trail.states and not trail.events:
        st.info("Nothing is recorded about this person's consent, so no campaign reaches them.")
        return
    for state in trail.states:
        said = words.consent_state(state.state)
        facts = [
            f"grade {state.grade}" if state.grade else "",
            words.consent_reason(state.reason) if state.reason else "",
        ]
        facts += [f"until {format.instant(state.expires_at, zone)}" if state.expires_at else ""]
        facts += [words.reason(overlay) for overlay in state.overlays]
        st.markdown(f"{words.purpose(state.purpose)}: **{said}**")
        st.caption(markup.markdown_text(" · ".join(fact for fact in facts if fact)))
    controls.table(
        {
            "Happened": [format.instant(event.occurred_at, zone) for event in trail.events],
            "Recorded": [format.instant(event.recorded_at, zone) for event in trail.events],
            "What happened": [words.plain(event.event_type.lower()) for event in trail.events],
            "Purpose": [words.purpose(event.purpose) for event in trail.events],
            "Then": [words.consent_state(event.next_state) for event in trail.events],
            "Grade": [event.grade or format.DASH for event in trail.events],
            "How": [words.method(event.method) for event in trail.events],
            "Why": [words.consent_reason(event.reason) for event in trail.events],
            "Record": [str(event.seq) for event in trail.events],
            "Hash": [f"{event.leaf_hash[:16]}…" for event in trail.events],
        }
    )


def _evidence(person: Person) -> None:
    """What proves the records: forms, pages, rows of files, as they were; seen with a reason only."""

    def look(reason: str) -> None:
        if len(reason) < audit_form.SHORTEST_REASON:
            st.warning("Please say in a few words why.")
            return
        st.session_state["evidence_shown"] = (person.id, session.client().evidence(person.id, reason))

    controls.ask_reason(
        "Show what proves it",
        key="evidence",
        act=look,
        help_text="It is personal: who looked, when and why is kept.",
    )
    whose, proofs = st.session_state.get("evidence_shown", ("", []))
    if whose != person.id:
        return
    rows = [
        (str(proof.seq), words.FIELDS.get(name, words.plain(name)), _shown(value))
        for proof in proofs
        for name, value in (proof.evidence or {"evidence": "none is kept"}).items()
    ]
    controls.table(
        {
            "Record": [seq for seq, _, _ in rows],
            "What": [what for _, what, _ in rows],
            "As it was kept": [value for _, _, value in rows],
        }
    )


def _shown(value: object) -> str:
    """Lists and records as JSON, a long text cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_PROOF else f"{text[:LONGEST_PROOF]}…"


def _limit(name: str, value: object, audit: Audit) -> str:
    """What a package is limited to, in words: a campaign by its name."""
    if name == "campaign_id":
        return f"campaign: {audit.campaign_name or 'one that was deleted'}"
    return f"{LIMITS.get(name, words.plain(name).lower())}: {len(value) if isinstance(value, list) else value}"


def _package(audit: Audit, zone: str) -> None:
    with st.container(border=True, key=f"audit_{audit.id}"):
        left, right = st.columns([4, 1], vertical_alignment="center")
        with left:
            state = words.WORK.get(audit.status, words.plain(audit.status))
            st.markdown(f"**{markup.markdown_text(audit.reason)}** &nbsp; `{state}`")
            facts = [
                f"{format.count(int(str(audit.facts[name])))} {label}"
                for name, label in PACKAGED.items()
                if name in audit.facts
            ]
            limits = [_limit(name, value, audit) for name, value in audit.filters.items() if value]
            said = [format.instant(audit.created_at, zone), *limits, *facts, format.size(audit.bytes)]
            st.caption(markup.markdown_text(" · ".join(said)))
            if audit.sha256:
                st.caption(f"SHA-256 `{audit.sha256}`")
            if audit.error:
                st.error(audit.error)
        with right:
            client = session.client()
            if audit.needs_approval:
                _approval(audit)
            elif audit.status == "done":
                st.download_button(
                    "Download",
                    lambda: client.audit_package(audit.id),
                    file_name=f"consent-audit-{audit.created_at:%Y%m%d}-{audit.id[-6:]}.zip",
                    mime="application/zip",
                    key=f"download_{audit.id}",
                )


def _approval(audit: Audit) -> None:
    """A package of many people waits for a second person."""
    if audit.mine or session.role() not in OFFICERS:
        st.caption("It names more than 1,000 people, so somebody else has to approve it.")
    elif st.button(
        "Approve", key=f"approve_{audit.id}", help="It names more than 1,000 people: you share the decision."
    ):
        session.client().approve_audit(audit.id)
        st.rerun()


def _packages(zone: str) -> None:
    with session.guard("packages"):
        audits = session.client().audits()
        if not audits:
            st.info("No package has been made yet.")
        for audit in audits:
            _package(audit, zone)
        waiting = any(audit.status in ("waiting", "running") for audit in audits)
        if waiting != st.session_state.get("audits_open", False):
            st.session_state["audits_open"] = waiting  # starts and stops the clock
            st.rerun()
        st.caption(f"As of {format.instant(datetime.now(UTC), zone)}")


st.title("Ledger and audits")
zone = get_settings().time_zone
st.subheader("The ledger")
with session.guard("ledger"):
    _ledger(zone)
with session.guard("integrity"):
    _integrity(zone)
person = None
if session.role() in OFFICERS:
    st.subheader("One person's consent")
    with session.guard("person"):
        person = _find()
        if person:
            trail = session.client().consents(person.id)
            _trail(person, trail, zone)
            if trail.events:
                _evidence(person)
st.subheader("Audit packages")
st.caption("A package holds the records, their proofs and a program that checks them offline, without Kairan.")
if session.role() in OFFICERS:
    with session.guard("request"):
        audit_form.ask(person, _name(person) if person else "")
st.fragment(_packages, run_every=2 if st.session_state.get("audits_open") else None)(zone)
