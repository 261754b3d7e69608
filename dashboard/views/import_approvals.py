"""Which files wait for a second person, and are their consents proven?"""

import polars as pl
import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, import_report, session, words
from dashboard.oversight_payloads import Approval, Sampled
from dashboard.payloads import Import

FOUND = {"proven": "Proven", "unproven": "Not proven"}
MARKS = tuple(FOUND.values())
SHOWN_WHOLE, TALLEST = 20, 740  # rows of a sample that need no scrolling; pixels of a longer one
SHOWN = ("evidence_ref", "phone", "name", "occurred_at", "method", "collection_point", "notice_id", "source_record_id")


def _title(work: Import, zone: str) -> str:
    return f"{work.filename} · {format.count(work.claims.opt_ins if work.claims else 0)} opt-ins · {_since(work, zone)}"


def _since(work: Import, zone: str) -> str:
    return format.instant(work.created_at, zone)


def _frame(rows: list[Sampled]) -> pl.DataFrame:
    """A row of the sample a row, what they hold in the file's order of importance."""
    present = [name for name in SHOWN if any(name in (row.raw or {}) for row in rows)]
    columns: dict[str, list[str] | list[int] | list[bool]] = {"Row": [row.row_number for row in rows]}
    columns |= {label: [row.finding == word for row in rows] for word, label in FOUND.items()}
    columns |= {words.FIELDS.get(name, words.plain(name)): [_cell(row, name) for row in rows] for name in present}
    columns["Note"] = [row.note or "" for row in rows]
    kinds = {name: pl.Int64 if name == "Row" else pl.Boolean if name in MARKS else pl.String for name in columns}
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
    with st.form(f"findings_{approval.job.id}", border=False):  # a form: the page does not start anew with every choice
        edited = st.data_editor(
            before,
            key=f"sample_{approval.job.id}",
            hide_index=True,
            height="content" if len(rows) <= SHOWN_WHOLE else TALLEST,
            placeholder="",
            disabled=True if approval.mine else [name for name in before.columns if name not in (*MARKS, "Note")],
            column_config={
                "Row": st.column_config.NumberColumn(width=70, pinned=True),
                **{label: st.column_config.CheckboxColumn(width=115, pinned=True) for label in MARKS},
                "Note": st.column_config.TextColumn(max_chars=500),
            },
        )
        pressed = st.form_submit_button("Save the findings", key="save_findings", disabled=approval.mine)
    if pressed:
        _save(approval.job.id, before, edited)


def _save(import_id: str, before: pl.DataFrame, edited: pl.DataFrame) -> None:
    both = [row["Row"] for row in edited.iter_rows(named=True) if all(row[label] for label in MARKS)]
    if both:
        st.warning(f"Row {both[0]} has both marks: leave one of them. Nothing was saved.")
        return
    changed = bare = 0
    for was, now in zip(before.iter_rows(named=True), edited.iter_rows(named=True), strict=True):
        marked = [word for word, label in FOUND.items() if now[label]]
        if all(was[name] == bool(now[name]) for name in MARKS) and was["Note"] == (now["Note"] or ""):
            continue
        if marked:
            session.oversight().find_sampled(import_id, now["Row"], marked[0], now["Note"] or "")
            changed += 1
        else:
            bare += 1
    if not changed:
        st.warning(
            "Nothing was saved: mark a row in the table first. A note needs a mark beside it, "
            "and a mark can be changed, not taken back."
        )
        return
    rest = f"; {format.count(bare)} without a mark left out" if bare else ""
    st.toast(f"{format.count(changed)} {'finding' if changed == 1 else 'findings'} saved{rest}")
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
    import_report.vouched(shown.job)
    import_report.claims(shown.job)
    with st.expander("What every row of the file would come to"):
        import_report.verdicts(shown.job)
    if shown.mine:
        st.info("You brought this file or vouched for it, so somebody else looks at its sample and decides.")
    else:
        _sample(shown)
        _decide(shown)
