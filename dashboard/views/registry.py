"""What do people agree to, what are they shown, and who has to look at a change?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, markup, session, words
from dashboard.oversight_payloads import Draft, Notice, Purpose
from dashboard.payloads import Json

OFFICERS = frozenset({Role.COMPLIANCE, Role.ADMIN})


def _purposes(purposes: list[Purpose]) -> None:
    controls.table(
        {
            "Purpose": [words.purpose(each.code) for each in purposes],
            "In words": [next(iter(each.description.values()), format.DASH) for each in purposes],
            "Weakest proof": [f"grade {each.min_grade}" for each in purposes],
            "Lasts": [f"{format.count(each.validity_days)} days" for each in purposes],
            "Needs consent": ["yes" if each.needs_consent else "no" for each in purposes],
            "State": ["halted" if each.halted else "in force" for each in purposes],
            "Version": [f"v{each.version}" for each in purposes],
        }
    )


def _notices(notices: list[Notice], zone: str) -> None:
    for notice in notices:
        ended = notice.effective_to
        head = f"{notice.code}, {notice.language}, version {notice.version}"
        if notice.invalid_at:
            head += f" (found defective {format.instant(notice.invalid_at, zone)})"
        else:
            head += f" (ended {format.instant(ended, zone)})" if ended else " (in force)"
        with st.expander(head):
            st.text(notice.text)
            st.text(notice.withdrawal_info)
            purposes = ", ".join(words.purpose(code) for code in notice.purposes)
            since = format.instant(notice.effective_from, zone)
            st.caption(markup.markdown_text(f"Covers {purposes}. In force since {since}."))
            if session.role() in OFFICERS and not notice.invalid_at:
                st.page_link(
                    "views/invalidations.py",
                    label="It is defective: make its consents invalid",
                    icon=":material/gavel:",
                    query_params={"notice": notice.id},
                )


def _draft(draft: Draft, zone: str) -> None:
    with st.container(border=True, key=f"draft_{draft.id}"):
        st.markdown(f"**{words.plain(draft.kind)}**, proposed {format.instant(draft.created_at, zone)}")
        controls.table(
            {
                "Field": [words.plain(name) for name in draft.content],
                "Value": [_said(value) for value in draft.content.values()],
            }
        )
        if session.role() not in OFFICERS:
            return
        with st.container(horizontal=True):
            if draft.mine:
                st.caption("You proposed it, so somebody else has to publish it.")
            elif st.button("Publish", key=f"publish_{draft.id}", type="primary"):
                session.oversight().publish_draft(draft.id)
                st.rerun()
            controls.ask_reason(
                "Reject",
                key=f"reject_{draft.id}",
                act=lambda reason: session.oversight().reject_draft(draft.id, reason),
                help_text="Why is it not published?",
            )


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {each}" for name, each in value.items())
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _propose_notice(purposes: list[Purpose]) -> None:
    with st.form("propose_notice", clear_on_submit=True):
        left, right = st.columns(2)
        with left:
            code = (st.text_input("Name of the notice", key="notice_code", placeholder="newsletter") or "").strip()
            covers = st.multiselect(
                "Covers", [each.code for each in purposes], format_func=words.purpose, key="notice_purposes"
            )
        with right:
            language = (st.text_input("Language", key="notice_language", placeholder="en") or "").strip()
            controller = (st.text_input("Who asks", value=get_settings().brand, key="notice_brand") or "").strip()
        wording = (st.text_area("What people are shown", key="notice_text") or "").strip()
        ending = (st.text_input("How they take it back", key="notice_end", placeholder="Reply STOP.") or "").strip()
        if st.form_submit_button("Propose", key="notice_button", type="primary"):
            content: Json = {
                "code": code,
                "language": language,
                "controller": controller,
                "purposes": covers,
                "text": wording,
                "withdrawal_info": ending,
            }
            _propose("notice", content)


def _propose_purpose() -> None:
    with st.form("propose_purpose", clear_on_submit=True):
        left, right = st.columns(2)
        with left:
            code = (st.text_input("Code", key="purpose_code", placeholder="marketing.events") or "").strip()
            grade = st.selectbox("Weakest proof", ["A", "B", "C"], index=2, key="purpose_grade")
        with right:
            days = st.number_input("Lasts, days", 1, 3650, 730, key="purpose_days")
            controller = (st.text_input("Who asks", value=get_settings().brand, key="purpose_brand") or "").strip()
        said = (st.text_input("In words, English", key="purpose_words") or "").strip()
        needs = st.checkbox("Needs consent", value=True, key="purpose_needs")
        if st.form_submit_button("Propose", key="purpose_button", type="primary"):
            content: Json = {
                "code": code,
                "controller": controller,
                "description": {"en": said} if said else {},
                "min_grade": grade,
                "validity_days": int(days),
                "needs_consent": needs,
            }
            _propose("purpose", content)


def _propose(kind: str, content: Json) -> None:
    session.oversight().propose(kind, content, controls.once_key(f"propose_{kind}"))
    controls.done_with(f"propose_{kind}")
    st.rerun()


st.title("Notices and purposes")
zone = get_settings().time_zone
client = session.oversight()
purposes = client.purposes_in_force()
_purposes(purposes)
st.subheader("Notices")
_notices(client.notices(), zone)
waiting = [draft for draft in client.drafts() if draft.status == "open"]
if waiting:
    st.subheader("Waiting for a second person")
for draft in waiting:
    with session.guard(f"draft_{draft.id}"):
        _draft(draft, zone)
if session.role() in OFFICERS:
    st.subheader("Propose a change")
    st.caption("A version in force never changes: what somebody else publishes becomes the next one.")
    notice_tab, purpose_tab = st.tabs(["A notice", "A purpose"])
    with notice_tab, session.guard("propose_notice"):
        _propose_notice(purposes)
    with purpose_tab, session.guard("propose_purpose"):
        _propose_purpose()
