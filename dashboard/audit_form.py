"""The form that asks for an audit package: whose consents, as of when, and why."""

import streamlit as st

from dashboard import controls, format, session, words
from dashboard.payloads import Json, Person

SHORTEST_REASON = 5
STATES = ("subscribed", "withdrawn", "pending", "expired", "invalid", "none", "closed")
GRADES = ("A", "B", "C", "D", "E")
METHODS = (
    *("web_form", "paper", "call", "in_person", "pref_centre", "staff", "api", "import"),
    *("wa_code", "wa_button", "wa_keyword", "wa_flow", "meta_pref", "dsar"),
)
EVERY = ""  # what stands for no limit


def ask(person: Person | None, name: str) -> None:
    """Ask for a package; who asked and why is part of it. `name`: of the person found above, if any.

    `?campaign=` in the address, as the proof of a campaign links here, chooses that campaign.
    """
    with st.form("audit", clear_on_submit=True):
        reason = (
            st.text_input("Reason", key="audit_reason", max_chars=300, placeholder="Request of 20 November") or ""
        ).strip()
        left, right = st.columns(2)
        with left:
            campaign = _campaign()
        with right:
            codes = [purpose.code for purpose in session.client().purposes()]
            purpose = _choice(
                "Purpose", "audit_purpose", {code: words.purpose(code) for code in codes}, "Every purpose"
            )
        only = st.checkbox(f"Only {name}", key="audit_only") if person else False
        with st.expander("More limits"):
            more = _more()
        pressed = st.form_submit_button("Make package", type="primary", key="audit_button")
    if not pressed:
        return
    if len(reason) < SHORTEST_REASON:
        st.warning("Please say in a few words why the package is needed: the reason goes into it.")
        return
    filters: Json = {"campaign_id": campaign, "purpose": purpose, **more}
    filters |= {"contact_ids": [person.id]} if person and only else {}
    asked = {"reason": reason} | {limit: value for limit, value in filters.items() if value not in (EVERY, None)}
    session.client().create_audit(asked, controls.once_key("audit"))
    controls.done_with("audit")
    st.session_state["audits_open"] = True
    st.rerun()


def _campaign() -> str:
    launched = [each for each in session.client().campaigns(limit=200).items if each.launched_at]
    named = {
        each.id: f"{each.name} · {each.launched_at.day} {each.launched_at:%b %Y}"
        for each in launched
        if each.launched_at is not None
    }
    linked = st.query_params.get("campaign", EVERY)
    return _choice("People of a campaign", "audit_campaign", named, "Everybody", first=linked)


def _more() -> Json:
    """The limits that are asked for seldom, as the API takes them."""
    left, right = st.columns(2)
    with left:
        state = _choice("State", "audit_state", {each: words.consent_state(each) for each in STATES}, "Every state")
        grade = _choice("Grade of proof", "audit_grade", {each: each for each in GRADES}, "Every grade")
        method = _choice("How it was given", "audit_method", {each: words.method(each) for each in METHODS}, "Any way")
        country = (st.text_input("Country (two letters)", key="audit_country", max_chars=2) or "").strip().upper()
    with right:
        notices = {n.id: f"{n.code}, {n.language}, version {n.version}" for n in session.oversight().notices()}
        notice = _choice("Notice shown", "audit_notice", notices, "Any notice")
        works = {each.id: each.filename for each in session.client().imports() if not each.dry_run}
        work = _choice("Came with the import", "audit_import", works, "Any or none")
        point = (st.text_input("Where it was given", key="audit_point", max_chars=200) or "").strip()
        as_of = st.number_input(
            "As of record",
            min_value=1,
            value=None,
            step=1,
            key="audit_as_of",
            help="The ledger as its newest checkpoint of at most so many records saw it. "
            f"Empty: now, {format.count(session.client().ledger().size)} records.",
        )
    return {
        **{"state": state, "grade": grade, "method": method, "country": country},
        **{"notice_id": notice, "import_id": work, "collection_point": point, "as_of_seq": as_of},
    }


def _choice(label: str, key: str, named: dict[str, str], every: str, *, first: str = EVERY) -> str:
    options = [EVERY, *named]
    chosen = st.selectbox(
        label,
        options,
        index=options.index(first) if first in named else 0,
        format_func=lambda one: named.get(one, every),
        key=key,
    )
    return str(chosen)
