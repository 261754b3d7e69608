"""How does consent stand, and had everybody a campaign reached agreed?"""

from datetime import UTC, datetime, timedelta

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import charts, controls, format, session, words
from dashboard.oversight_payloads import Overview, Proof

SHOWN = {"grade": "Grade of proof", "method": "How it was given", "country": "Country"}
GRADES = {
    "A": "A: confirmed from the same WhatsApp account",
    "B": "B: given in WhatsApp",
    "C": "C: given to us elsewhere",
    "D": "D: from somebody else, or back-dated",
    "E": "E: not proven",
}


def _overview() -> Overview:
    """Counted at most every five minutes for the same visitor."""
    kept: tuple[datetime, Overview] | None = st.session_state.get("consent_overview")
    if kept is not None and datetime.now(UTC) - kept[0] < timedelta(minutes=5):
        return kept[1]
    with st.spinner("Counting…"):
        overview = session.oversight().overview()
    st.session_state["consent_overview"] = (datetime.now(UTC), overview)
    return overview


def _states(overview: Overview) -> None:
    by = overview.by.get("state", {})
    order = [state for state in words.CONSENT_STATES if any(state in counts for counts in by.values())]
    controls.table(
        {"Purpose or scope": [words.purpose(purpose) for purpose in by]}
        | {
            words.consent_state(state): [format.count(counts.get(state, 0)) for counts in by.values()]
            for state in order
        }
    )


def _word(dimension: str, word: str) -> str:
    if dimension == "grade":
        return GRADES.get(word, word)
    return words.method(word) if dimension == "method" else word


def _dimensions(overview: Overview, purpose: str) -> None:
    places = controls.cells(len(SHOWN), min_width=280)
    for place, (dimension, title) in zip(places, SHOWN.items(), strict=True):
        counts = overview.by.get(dimension, {}).get(purpose, {})
        whole = sum(counts.values())
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:12]
        with place:
            if not ordered:
                st.caption(title)
                st.caption("No consent is in force.")
                continue
            controls.table(
                {
                    title: [_word(dimension, word) for word, _ in ordered],
                    "People": [format.count(number) for _, number in ordered],
                    "Share": [format.share(number / whole) for _, number in ordered],
                }
            )


def _proof(proof: Proof) -> None:
    if proof.holds:
        st.success(
            f"All {format.count(proof.sent)} messages that were sent had a valid consent at that moment: "
            "each names the record it relied on."
        )
    else:
        st.error("Messages were sent that the ledger does not allow. Make an audit package of this campaign.")
    left, right = controls.cells(2, min_width=300)
    with left:
        controls.table(
            {
                "Held against the ledger": [
                    "People in the campaign",
                    "Messages the gate allowed",
                    "Messages sent",
                    "Not sent yet, or unknown",
                    "Reached people who are erased now",
                ],
                "Number": [
                    format.count(number)
                    for number in (proof.recipients, proof.allowed, proof.sent, proof.unsent, proof.erased)
                ],
            }
        )
    with right:
        controls.table(
            {
                "What must be zero": [words.plain(fault) for fault in proof.faults],
                "Messages": [format.count(number) for number in proof.faults.values()],
            }
        )
    if proof.skipped:
        st.caption("Why the others got nothing")
        controls.reasons_table(proof.skipped, whole=proof.recipients, noun="people")


st.title("Consent")
overview = _overview()
if not overview.by.get("state"):
    st.info("Nothing is recorded yet. Import contacts with their consent, or let people opt in.")
else:
    _states(overview)
    purposes = list(overview.by.get("grade", {}) or overview.by["state"])
    purpose = str(st.selectbox("Consents in force for", purposes, format_func=words.purpose, key="figures_purpose"))
    _dimensions(overview, purpose)
    if overview.days:
        st.caption("Given and taken back, by UTC day")
        st.plotly_chart(
            charts.given_and_taken(
                [day.day for day in overview.days],
                [day.given for day in overview.days],
                [day.taken_back for day in overview.days],
            ),
            key="consent_days",
            config=charts.config(),
        )
if session.role() in (Role.ADMIN, Role.COMPLIANCE):
    st.subheader("Proof of a campaign")
    with session.guard("proof"):
        campaigns = [each for each in session.client().campaigns(limit=200).items if each.launched_at]
        if campaigns:
            chosen = controls.campaign_picker(campaigns, key="proof_campaign")
            _proof(session.oversight().proof(chosen.id))
            st.page_link(
                "views/compliance.py",
                label="Export this campaign's proof",
                icon=":material/download:",
                query_params={"campaign": chosen.id},
            )
        else:
            st.info("No campaign has been launched yet.")
st.caption(f"Counted at most every five minutes. Times in {get_settings().time_zone}.")
