"""Bring a file of contacts and consents in; what became of every row?"""

from typing import Literal

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, import_form, import_report, markup, session, words
from dashboard.payloads import Import, Json

OPEN = ("waiting", "running", "undoing")
DOWNLOADED = ("rejected", "not_sendable")  # verdicts whose rows can be fetched with their reasons


def _rejects(work: Import) -> None:
    refused = [verdict for verdict in DOWNLOADED if work.verdicts.get(verdict)]
    if work.status in OPEN or not refused:
        return
    client = session.client()
    st.markdown("**Why rows were not used**")
    reasons = client.import_reasons(work.id)
    controls.table(
        {
            "Verdict": [words.VERDICTS.get(each.verdict, (words.plain(each.verdict),))[0] for each in reasons],
            "Rows": [format.count(each.rows) for each in reasons],
            "Why": [each.reason or "no reason given" for each in reasons],
            "First in row": [format.count(each.first_row) for each in reasons],
        }
    )
    st.download_button(
        "Download rejected rows with reasons",
        lambda: client.rejects(work.id),
        file_name=f"rejects-{work.filename.rsplit('.', 1)[0]}.csv",
        mime="text/csv",
        key="rejects",
    )


def _advance(work: Import) -> None:
    """A bar while the work is under way: first the file is read, then its rows are recorded."""
    total = work.rows_total or 0
    if work.status == "undoing":
        st.progress(1.0, "Taking back people, values and memberships…")
    elif not total:
        st.progress(0.0, f"Reading the file: {format.count(work.rows_read)} rows so far")
    else:
        what = "checked" if work.dry_run else "recorded"
        said = f"{format.count(work.rows_done)} of {format.count(total)} rows {what}"
        st.progress(min(1.0, work.rows_done / total), said)


def _steer(work: Import, what: str, body: Json | None = None) -> None:
    session.client().steer_import(work.id, what, body)
    st.session_state["import_status"] = ""
    st.rerun()


_BUTTONS = (
    (("checked",), "Import these rows", "confirm"),
    (("paused",), "Go on", "resume"),
    (("waiting", "running"), "Pause", "pause"),
    (("waiting", "running", "paused", "checked", "awaiting"), "Stop here", "cancel"),
)


def _controls(work: Import, zone: str) -> None:
    """What can be done with the import now."""
    if not session.may_run_campaigns():
        return
    said = import_report.vouch(work.id) if work.needs == "attestation" else None
    pressed = ""
    with st.container(horizontal=True):
        for status, label, what in _BUTTONS:
            kind: Literal["primary", "secondary"] = "primary" if what in ("confirm", "resume") else "secondary"
            lacks = what == "confirm" and work.needs == "attestation" and said is None
            if work.status in status and st.button(label, key=f"{what}_import", type=kind, disabled=lacks):
                pressed = what
    if pressed:
        _steer(work, pressed, {"attestation": said} if pressed == "confirm" and said else None)
    if work.undo_until is not None:
        with st.popover("Undo this import", key="undo_open"):
            st.caption(
                "People it brought are removed, values it changed go back, and it leaves its audience. "
                "The consents it brought become invalid, so that nobody is messaged on them, and opt-outs stay. "
                "Who has a consent on record or was written to stays too, without a name: the records name them. "
                f"Possible until {format.instant(work.undo_until, zone)}."
            )
            if st.button("Undo it", key="undo_import", type="primary"):
                _steer(work, "undo")
    if work.undone is not None and work.status == "undone":
        taken = work.undone
        st.success(
            f"Undone: {format.count(taken.get('removed', 0))} people removed, "
            f"{format.count(taken.get('restored', 0))} put back as they were, "
            f"{format.count(taken.get('memberships', 0))} taken off the audience. "
            f"{format.count(taken.get('kept', 0))} stay without a name, because of a consent or a message on record. "
            "Nobody is messaged on the consents it brought."
        )


def _progress(import_id: str, zone: str) -> None:
    with session.guard("progress"):
        work = session.client().import_(import_id)
        st.subheader(markup.markdown_text(work.filename))
        state = words.WORK.get(work.status, words.plain(work.status))
        st.caption(f"{state} · {format.size(work.bytes)} · started {format.instant(work.created_at, zone)}")
        if work.error:
            st.error(markup.markdown_text(work.error[:1].upper() + work.error[1:]))
        if work.dry_run and work.status == "cancelled":
            st.caption("It ended before anything was recorded but the opt-outs of a file that was to be imported.")
        if work.status == "awaiting":
            st.info(
                "Nothing but its opt-outs is written yet. "
                f"{format.count(work.claims.opt_ins if work.claims else 0)} opt-ins are more "
                "than one person may bring: somebody of compliance opens a sample and approves the file.",
                icon=":material/hourglass_top:",
            )
        if work.status in (*OPEN, "paused"):
            _advance(work)
        _controls(work, zone)
        import_report.vouched(work)
        import_report.verdicts(work)
        import_report.claims(work)
        _rejects(work)
        if session.role() in (Role.COMPLIANCE, Role.ADMIN) and work.verdicts.get("accepted") and not work.dry_run:
            st.page_link(
                "views/invalidations.py",
                label="It was forged or bought: make its consents invalid",
                icon=":material/gavel:",
                query_params={"import": work.id},
            )
        if work.status != st.session_state.get("import_status"):
            st.session_state["import_status"] = work.status  # starts and stops the clock
            st.rerun()


def _history(zone: str) -> None:
    st.subheader("Earlier imports")
    works = session.client().imports()
    if not works:
        st.caption("Nothing has been imported yet. Choose a file above to begin.")
        return
    shown = st.selectbox(
        "Import",
        works,
        format_func=lambda w: (
            f"{w.filename} · {format.instant(w.created_at, zone)} · {words.WORK.get(w.status, w.status)}"
        ),
        index=None,
        placeholder="Choose one to see its rows",
        key="earlier",
    )
    if shown:
        st.session_state["import_shown"] = shown.id


st.title("Import")
zone = get_settings().time_zone
if session.may_run_campaigns():
    import_form.upload()
result = st.container()
_history(zone)
import_shown = st.session_state.get("import_shown")
if import_shown:
    running = st.session_state.get("import_status", "running") in ("", *OPEN)
    with result:
        st.fragment(_progress, run_every=1 if running else None)(import_shown, zone)
