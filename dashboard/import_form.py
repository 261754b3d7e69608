"""The import page's upper half: a file, how it is read, and its first rows as they would be read."""

from zoneinfo import available_timezones

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.settings import get_settings
from core.statuses import MergePolicy
from dashboard import controls, format, import_report, session, words
from dashboard.payloads import FileFormat, FilePreview, Json

KINDS = ["csv", "tsv", "txt", "xlsx", "parquet"]
WHOLE = ("xlsx", "parquet")  # kinds whose start alone cannot be read
START = 1 << 20  # bytes of a text file that a preview needs
PREVIEWS = 4  # kept a tab
NO_COLUMN = "—"
CONSENT_FIELDS = ("action", "occurred_at", "method", "collection_point", "notice_id", "evidence_ref")
SHOWN = ("phone", "name", "country", "action", "occurred_at")


def upload() -> None:
    """Choose a file, see how it is read, then check or import it; the import shown next is the one begun here."""
    begun = st.session_state.setdefault("imports_begun", 0)  # a file that was taken in leaves the form
    file = st.file_uploader(
        "File",
        type=KINDS,
        key=f"file_{begun}",
        help="CSV, TSV, XLSX or Parquet; only phone numbers are required.",
    )
    if file is None:
        st.caption(
            "Consent columns (action, method, occurred_at, collection_point, …) make people reachable. "
            "Without them contacts are saved but cannot be messaged. Whoever opted out stays opted out."
        )
        return
    options = _options()
    with session.guard("preview"):
        chosen = _columns(file, _look(file, options))
        options["columns"] = dict(chosen)
        _preview(file, options)
        if any(chosen.get(field) for field in CONSENT_FIELDS) and (said := import_report.vouch(file.file_id)):
            options["attestation"] = said
        _buttons(file, options, ready=bool(chosen["phone"]) and options.get("audience_name") != "")


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
        zones = sorted(available_timezones())
        options["zone"] = st.selectbox(
            "Zone of times without one", zones, index=zones.index(get_settings().time_zone), key="zone"
        )
        encoding = st.selectbox(
            "Characters of a text file",
            ["", *words.ENCODINGS_CHOSEN],
            format_func=lambda name: words.ENCODINGS.get(name, "Found by itself"),
            key="encoding",
            help="Choose one when the names below are not what is in the file.",
        )
        options |= {"encoding": encoding} if encoding else {}
    with right:
        options["merge"] = st.selectbox(
            "People we know already",
            [policy.value for policy in MergePolicy],
            format_func=lambda policy: words.MERGES[policy],
            key="merge",
            help="Consent is never overwritten, whatever is chosen here.",
        )
        options |= _target()
    return options


def _target() -> Json:
    target = st.selectbox("Put the people into", ["No audience", "A new audience", "An audience we have"], key="into")
    if target == "A new audience":
        return {"audience_name": (st.text_input("Its name", key="audience_name") or "").strip()}
    if target == "An audience we have":
        lists = [audience for audience in session.client().audiences() if audience.kind == "static"]
        chosen = st.selectbox("Which", lists, format_func=lambda a: a.name, key="audience_id")
        return {"audience_id": chosen.id} if chosen else {}
    return {}


def _look(file: UploadedFile, options: Json) -> FilePreview:
    """The API's preview, asked once for the same file and options."""
    seen: dict[str, FilePreview] = st.session_state.setdefault("import_previews", {})
    asked = f"{file.file_id} {sorted(options.items(), key=str)}"
    if asked not in seen:
        whole = file.name.rsplit(".", 1)[-1].lower() in WHOLE
        content = file.getvalue() if whole else file.getvalue()[:START]
        unsaved = {name: value for name, value in options.items() if not name.startswith("audience")}
        while len(seen) >= PREVIEWS:
            del seen[next(iter(seen))]
        seen[asked] = session.client().preview_import(file.name, content, unsaved)
    return seen[asked]


def _columns(file: UploadedFile, found: FilePreview) -> dict[str, str]:
    """Which column is which field, as suggested until somebody chooses otherwise."""
    consent = [field for field in found.fields if field in found.columns]
    missing = "phone" not in found.columns
    with st.expander(f"Columns: {len(consent)} of {len(found.header)} recognised", expanded=missing):
        if missing:
            st.warning("No column was recognised as phone numbers. Choose it here.")
        st.caption("Columns that are none of these are kept as attributes of the person.")
        chosen: dict[str, str] = {}
        for place, field in zip(controls.cells(len(found.fields), min_width=220), found.fields, strict=True):
            choices = [NO_COLUMN, *found.header]
            suggested = found.columns.get(field, NO_COLUMN)
            picked = place.selectbox(
                words.FIELDS.get(field, words.plain(field)),
                choices,
                index=choices.index(suggested),
                key=f"column_{field}_{file.file_id}",
            )
            chosen[field] = "" if picked == NO_COLUMN else picked
    return chosen


def _described(form: FileFormat) -> str:
    if form.kind != "csv":
        return {"xlsx": "Excel workbook, first sheet", "parquet": "Parquet"}[form.kind]
    encoding = words.ENCODINGS.get(form.encoding or "", (form.encoding or "").replace("_", "-"))
    return f"Text in {encoding}, columns separated by {words.DELIMITERS.get(form.delimiter or ',', 'commas')}"


def _preview(file: UploadedFile, options: Json) -> None:
    found = _look(file, options)
    st.caption(f"{_described(found.format)} · {format.size(file.size)} · {len(found.header)} columns")
    if not found.rows:
        return
    zone = str(options["zone"])
    rows = found.rows
    bad = sum(1 for row in rows if row.problem)
    table: dict[str, list[str]] = {"Row": [str(row.row_number) for row in rows]}
    table["Phone"] = [row.phone or row.values.get("phone", format.DASH) for row in rows]
    for field in SHOWN[1:]:
        if field not in found.columns:
            continue
        table[words.FIELDS[field]] = [
            format.instant(row.occurred_at, zone)
            if field == "occurred_at" and row.occurred_at
            else row.values.get(field, format.DASH)
            for row in rows
        ]
    table["Remark"] = [
        row.problem or "; ".join(f"the number {words.MENDED.get(each, each)}" for each in row.mended) for row in rows
    ]
    st.markdown(f"**The first {len(rows)} rows as they would be read**" + (f", {bad} with a problem" if bad else ""))
    controls.table(table)


def _buttons(file: UploadedFile, options: Json, *, ready: bool) -> None:
    with st.container(horizontal=True):
        checking = st.button(
            "Check all rows",
            type="primary",
            key="check_import",
            disabled=not ready,
            help="Gives every row its verdict and writes nothing. You confirm afterwards.",
        )
        starting = st.button(
            "Import now",
            key="start_import",
            disabled=not ready,
            help="Opt-ins nobody vouches for are only checked; many of them wait for a second person.",
        )
    if checking or starting:
        name = f"import_{file.file_id}_{checking}"
        started = session.client().start_import(
            file.name, file.getvalue(), options | {"dry_run": checking}, controls.once_key(name)
        )
        controls.done_with(name)
        st.session_state["import_shown"], st.session_state["earlier"] = started.id, None
        st.session_state["imports_begun"] += 1
        st.rerun()
