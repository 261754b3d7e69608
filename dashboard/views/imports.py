"""Bring a file of contacts and consents in; what became of every row?"""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, session, words
from dashboard.payloads import Import, Json

OPEN = ("waiting", "running")
KINDS = ["csv", "tsv", "txt", "xlsx"]
DOWNLOADED = ("rejected", "not_sendable")  # verdicts whose rows can be fetched with their reasons


def _columns(text: str) -> dict[str, str]:
    """`phone = Telefon` lines as a mapping; lines without `=` are ignored."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {ours.strip(): theirs.strip() for ours, theirs in pairs if ours.strip() and theirs.strip()}


def _options() -> Json:
    """How the file is to be read, as the API takes it."""
    options: Json = {}
    left, right = st.columns(2)
    with left:
        region = st.text_input(
            "Country of numbers without a prefix",
            get_settings().country,
            key="region",
            max_chars=2,
            help="Two letters: DE turns 0170 1234567 into +49 170 1234567.",
        )
        options["region"] = (region or get_settings().country).strip().upper()
    with right:
        target = st.selectbox(
            "Put the people into", ["No audience", "A new audience", "An audience we have"], key="into"
        )
        if target == "A new audience":
            options["audience_name"] = (st.text_input("Its name", key="audience_name") or "").strip()
        elif target == "An audience we have":
            lists = [audience for audience in session.client().audiences() if audience.kind == "static"]
            chosen = st.selectbox("Which", lists, format_func=lambda a: a.name, key="audience_id")
            if chosen:
                options["audience_id"] = chosen.id
    with st.expander("My columns have other names"):
        st.caption("English and Japanese headers are known. Otherwise one line each, ours = yours.")
        mapping = _columns(st.text_area("Columns", key="columns", placeholder="phone = Telefon\nname = Vorname") or "")
        if mapping:
            options["columns"] = mapping
    return options


def _upload() -> None:
    file = st.file_uploader(
        "File", type=KINDS, key="file", help="CSV, TSV or XLSX with a header row; only `phone` is required."
    )
    if file is None:
        st.caption(
            "Consent columns (action, method, occurred_at, collection_point, …) make people reachable. "
            "Without them contacts are saved but cannot be messaged. Whoever opted out stays opted out."
        )
        return
    options = _options()
    unnamed = options.get("audience_name") == ""
    if st.button("Import", type="primary", key="start_import", disabled=unnamed):
        name = f"import_{file.file_id}"
        started = session.client().start_import(file.name, file.getvalue(), options, controls.once_key(name))
        controls.done_with(name)
        st.session_state["import_shown"], st.session_state["earlier"] = started.id, None
        st.rerun()


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
    if work.status == "done" and counted == total:
        st.caption(f"The verdicts add up to the file: {format.count(counted)} of {format.count(total)} rows.")
    elif work.status == "done":
        st.error(f"The verdicts ({format.count(counted)}) do not add up to the file ({format.count(total)} rows).")


def _rejects(work: Import) -> None:
    refused = [verdict for verdict in DOWNLOADED if work.verdicts.get(verdict)]
    if work.status != "done" or not refused:
        return
    client = session.client()
    sample = client.import_rows(work.id, refused[0], limit=5)
    for row in sample:
        st.caption(f"Row {row.row_number}: {markup.markdown_text(row.reason or 'no reason given')}")
    st.download_button(
        "Download rejected rows with reasons",
        lambda: client.rejects(work.id),
        file_name=f"rejects-{work.filename.rsplit('.', 1)[0]}.csv",
        mime="text/csv",
        key="rejects",
    )


def _progress(import_id: str, zone: str) -> None:
    with session.guard("progress"):
        work = session.client().import_(import_id)
        st.subheader(markup.markdown_text(work.filename))
        state = words.WORK.get(work.status, words.plain(work.status))
        st.caption(f"{state} · {format.size(work.bytes)} · started {format.instant(work.created_at, zone)}")
        total = work.rows_total or 0
        if work.error:
            st.error(work.error)
        if work.status in OPEN:
            said = f"{format.count(work.rows_done)} of {format.count(total) if total else 'an unknown number of'} rows"
            st.progress(min(1.0, work.rows_done / total) if total else 0.0, said)
        _verdicts(work)
        _rejects(work)
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
    _upload()
result = st.container()
_history(zone)
import_shown = st.session_state.get("import_shown")
if import_shown:
    running = st.session_state.get("import_status", "running") in OPEN
    with result:
        st.fragment(_progress, run_every=1 if running else None)(import_shown, zone)
