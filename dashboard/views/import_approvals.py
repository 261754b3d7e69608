"""Which files wait for a second person, and are their consents proven?"""

import polars as pl
import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, import_report, markup, session, words
from dashboard.oversight_payloads import Approval, Sampled
from dashboard.payloads import Import

FOUND = {"proven": "Proven", "unproven": "Not proven"}
SHOWN = ("evidence_ref", "phone", "name", "occurred_at", "method", "collection_point", "notice_id", "source_record_id")


def _title(work: Import, zone: str) -> str:
    return f"{work.filename} · {format.count(work.claims.opt_ins if work.claims else 0)} opt-ins · {_since(work, zone)}"


def _since(work: Import, zone: str) -> str:
    return format.instant(work.created_at, zone)


def _who(work: Import, zone: str) -> None:
    said = work.attestation
    if said is None:
        return
    who = f"{said.name} ({said.role})"
    st.markdown(
        f"Vouched for by **{markup.markdown_text(who)}** on {format.instant(said.at, zone)}, "
        f"statement version {markup.markdown_text(said.statement)}."
    )


def _frame(rows: list[Sampled]) -> pl.DataFrame:
    """A row of the sample a row, what they hold in the file's order of importance."""
    present = [name for name in SHOWN if any(name in (row.raw or {}) for row in rows)]
    columns: dict[str, list[str | int | None]] = {
        "Row": [row.row_number for row in rows],
        "Finding": [FOUND.get(row.finding or "") for row in rows],
    }
    columns |= {words.FIELDS.get(name, words.plain(name)): [_cell(row, name) for row in rows] for name in present}
    columns["Note"] = [row.note or "" for row in rows]
    kinds = {name: pl.Int64 if name == "Row" else pl.String for name in columns}
    return pl.DataFrame(columns, schema=kinds)


def _cell(row: Sampled, name: str) -> str:
    return str((row.raw or {}).get(name, ""))


def _sample(approval: Approval) -> None:
    rows = [row for row in approval.sample if row.raw is not None]
    found = sum(1 for row in rows if row.finding)
    st.markdown(f"**The sample: {format.count(len(rows))} rows, {format.count(found)} looked at**")
    st.caption(
        "They were drawn by chance among the opt-ins that would be accepted. Open the proof each row names, "
        "and write down whether it shows that this person agreed."
    )
    before = _frame(rows)
    edited = st.data_editor(
        before,
        key=f"sample_{approval.job.id}",
        hide_index=True,
        disabled=[name for name in before.columns if name not in ("Finding", "Note")],
        column_config={
            "Row": st.column_config.NumberColumn(width=70, pinned=True),
            "Finding": st.column_config.SelectboxColumn(options=list(FOUND.values()), width=110, pinned=True),
            "Note": st.column_config.TextColumn(max_chars=500),
        },
    )
    if st.button("Save the findings", key="save_findings"):
        _save(approval.job.id, before, edited)


def _save(import_id: str, before: pl.DataFrame, edited: pl.DataFrame) -> None:
    words_of = {label: word for word, label in FOUND.items()}
    changed = 0
    for was, now in zip(before.iter_rows(named=True), edited.iter_rows(named=True), strict=True):
        if (was["Finding"], was["Note"]) != (now["Finding"], now["Note"] or "") and now["Finding"]:
            session.oversight().find_sampled(import_id, now["Row"], words_of[now["Finding"]], now["Note"] or "")
            changed += 1
    st.toast(f"{format.count(changed)} findings saved")
    st.rerun()


def _decide(approval: Approval) -> None:
    rows = [row for row in approval.sample if row.raw is not None]
    ready = all(row.finding == "proven" for row in rows)
    with st.container(horizontal=True):
        if st.button(
            "Approve",
            key="approve_import",
            type="primary",
            disabled=not ready,
            help="The file is imported at once." if ready else "Every row of the sample has to be proven first.",
        ):
            session.oversight().approve_import(approval.job.id)
            st.toast("Approved: the file is being imported")
            st.rerun()
        controls.ask_reason(
            "Refuse the file",
            key="refuse_import",
            act=lambda reason: session.oversight().refuse_import(approval.job.id, reason),
            help_text="Nothing but its opt-outs is recorded. Whoever brought the file reads the reason.",
        )


st.title("Imports to approve")
st.caption(
    "Files with many opt-ins wait here. Nothing but their opt-outs is recorded before somebody who did not bring the "
    "file has looked at the proof of a sample."
)
zone = get_settings().time_zone
waiting = session.oversight().imports_to_approve().items
if not waiting:
    st.success("No file waits for an approval.")
    st.stop()
chosen = st.selectbox("File", waiting, format_func=lambda work: _title(work, zone), key="to_approve")
with session.guard("approval"):
    shown = session.oversight().approval(chosen.id)
    _who(shown.job, zone)
    import_report.claims(shown.job)
    with st.expander("What every row of the file would come to"):
        import_report.verdicts(shown.job)
    if shown.mine:
        st.info("You brought this file or vouched for it, so somebody else looks at its sample and decides.")
    else:
        _sample(shown)
        _decide(shown)
