"""What a file came to: its verdicts, and what it says about consent; for who brought it and for who approves it."""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, session, words
from dashboard.payloads import Import, Json

MANY_AT_ONCE = 20  # opt-ins of one second worth a word
LEFT_OUT = "value_left_out"  # a note: rows with a value that does not fit its attribute's kind


def verdicts(work: Import) -> None:
    """The table that balances to the file."""
    total, counted = work.rows_total or 0, sum(work.verdicts.values())
    known = [*words.VERDICTS, *(verdict for verdict in work.verdicts if verdict not in words.VERDICTS)]
    rows = [(*words.VERDICTS.get(v, (words.plain(v), "")), work.verdicts.get(v, 0)) for v in known]
    controls.table(
        {
            "Verdict": [*(label for label, _, _ in rows), "Together"],
            "Rows": [format.count(number) for number in (*(row[2] for row in rows), counted)],
            "Share": [format.share(n / counted) if counted else format.DASH for n in (*(r[2] for r in rows), counted)],
            "What it would mean" if work.dry_run else "What it means": [*(meaning for _, meaning, _ in rows), ""],
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


def vouched(work: Import) -> None:
    """Who says that the opt-ins are true, and when a second person agreed."""
    said, zone = work.attestation, get_settings().time_zone
    if said is None:
        return
    agreed = f"; approved {format.instant(work.approved_at, zone)}" if work.approved_at else ""
    st.markdown(
        f"Vouched for by **{markup.markdown_text(f'{said.name} ({said.role})')}** on {format.instant(said.at, zone)}, "
        f"statement version {markup.markdown_text(said.statement)}{agreed}."
    )


def claims(work: Import) -> None:
    """How the opt-ins were gathered, as the rows say."""
    said, zone = work.claims, get_settings().time_zone
    if said is None or not said.opt_ins:
        return
    period = ""
    if said.earliest and said.latest:
        period = f", given between {format.instant(said.earliest, zone)} and {format.instant(said.latest, zone)}"
    st.markdown(f"**{format.count(said.opt_ins)} opt-ins**{period}; {format.count(said.opt_outs)} opt-outs.")
    burst = said.fullest_second
    if burst is not None and burst.opt_ins >= MANY_AT_ONCE:
        st.warning(
            f"{format.count(burst.opt_ins)} of the opt-ins carry the same second, {format.instant(burst.at, zone)}. "
            "People do not agree that way; exports of bought lists look like this.",
            icon=":material/warning:",
        )
    columns = [name for name in ("method", "collection_point", "notice_id") if said.sayings.get(name)]
    for place, name in zip(controls.cells(len(columns), min_width=260), columns, strict=True):
        with place:
            counted = dict(sorted(said.sayings[name].items(), key=lambda item: -item[1]))
            controls.table(
                {
                    words.FIELDS.get(name, words.plain(name)): [word or "not said" for word in counted],
                    "Opt-ins": [format.count(many) for many in counted.values()],
                }
            )


def vouch(key: str) -> Json | None:
    """The statement, and a box to make it; the attestation once somebody did."""
    if "import_statement" not in st.session_state:
        st.session_state["import_statement"] = session.client().import_statement()
    statement = st.session_state["import_statement"]
    with st.container(border=True, key=f"vouch_{key}"):
        st.markdown("**Somebody has to vouch for the opt-ins**")
        st.markdown(f"> {statement.text}")
        role = (st.text_input("Your role", key=f"role_{key}", max_chars=100, placeholder="CRM manager") or "").strip()
        says_so = st.checkbox("I say so, and my name is kept with it", key=f"says_so_{key}")
    return {"role": role, "statement": statement.version} if says_so and role else None
