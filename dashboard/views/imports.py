"""Bring a file of contacts and consents in; what became of every row?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, import_form, markup, session, words
from dashboard.payloads import Import

OPEN = ("waiting", "running", "undoing")
LEFT_OUT = "value_left_out"  # a note: rows with a value that does not fit its attribute's kind
DOWNLOADED = ("rejected", "not_sendable")  # verdicts whose rows can be fetched with their reasons


def _verdicts(work: Import) -> None:
    """The table that balances to the file."""
    total, counted = work.rows_total or 0, sum(work.verdicts.values())
    known = [*words.VERDICTS, *(verdict for verdict in work.verdicts if verdict not in words.VERDICTS)]
    rows = [(*words.VERDICTS.get(v, (words.plain(v), "")), work.verdicts.get(v, 0)) for v in known]
    controls.table(
        {
            "Verdict": [*(label for label, _, _ in rows), "Together"],
            "Rows": [format.count(number) for number in (*(row[2] for row in rows), counted)],
            "Share": [format.share(n / counted) if counted else format.DASH for n in (*(r[2] for r in rows), counted)],
            "What it means": [*(meaning for _, meaning, _ in rows), ""],
        }
    )
    if work.status in ("done", "checked", "undone") and counted == total:
        st.caption(f"The verdicts add up to the file: {format.count(counted)} of {format.count(total)} rows.")
    elif work.status == "done":
        st.error(f"The verdicts ({format.count(counted)}) do not add up to the file ({format.count(total)} rows).")
    mended = [
        f"{format.count(rows)} {'number' if rows == 1 else 'numbers'} {words.MENDED.get(what, words.plain(what))}"
        for what, rows in work.notes.items()
        if what != LEFT_OUT
    ]
    if mended:
        st.caption(f"Mended on the way in, as spreadsheets do this to numbers: {', '.join(mended)}.")
    if left_out := work.notes.get(LEFT_OUT):
        many = "1 row holds a value" if left_out == 1 else f"{format.count(left_out)} rows hold a value"
        st.caption(f"{many} that does not fit its attribute's kind. The person counts; the value was left out.")


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


def _steer(work: Import, what: str) -> None:
    session.client().steer_import(work.id, what)
    st.session_state["import_status"] = ""
    st.rerun()


_BUTTONS = (
    (("checked",), "Import these rows", "confirm"),
    (("paused",), "Go on", "resume"),
    (("waiting", "running"), "Pause", "pause"),
    (("waiting", "running", "paused", "checked"), "Stop here", "cancel"),
)


def _controls(work: Import, zone: str) -> None:
    """What can be done with the import now."""
    if not session.may_run_campaigns():
        return
    pressed = ""
    with st.container(horizontal=True):
        for status, label, what in _BUTTONS:
            first = what in ("confirm", "resume")
            if work.status in status and st.button(
                label, key=f"{what}_import", type="primary" if first else "secondary"
            ):
                pressed = what
    if pressed:
        _steer(work, pressed)
    if work.undo_until is not None:
        with st.popover("Undo this import", key="undo_open"):
            st.caption(
                "People it brought are removed, values it changed go back, and it leaves its audience. "
                "The consents it brought become invalid, so that nobody is messaged on them; opt-outs stay, and so "
                "does everybody who was written to. "
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
            f"{format.count(taken.get('kept', 0))} stay, because of what they said or were sent. "
            "Nobody is messaged on the consents it brought."
        )


def _progress(import_id: str, zone: str) -> None:
    with session.guard("progress"):
        work = session.client().import_(import_id)
        st.subheader(markup.markdown_text(work.filename))
        state = words.WORK.get(work.status, words.plain(work.status))
        st.caption(f"{state} · {format.size(work.bytes)} · started {format.instant(work.created_at, zone)}")
        if work.error:
            st.error(work.error)
        if work.status in (*OPEN, "paused"):
            _advance(work)
        _controls(work, zone)
        _verdicts(work)
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
