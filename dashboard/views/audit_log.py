"""Who did what?"""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, session, words
from dashboard.oversight_payloads import Entry

KINDS = {
    "": "Everything",
    "audit.*": "Audit packages",
    "contact.*": "Contacts: edits, merges, copies, erasures",
    "evidence.*": "Evidence looked at",
    "consent.*": "Consents recorded by hand",
    "data_request.*": "Requests about data",
    "hold.*": "What may have been a stop",
    "conversation.*": "The inbox",
    "rule.*": "Automatic answers",
    "campaign.*": "Campaigns",
    "audience.*": "Audiences",
    "import.*": "Imports",
    "sender.*": "Numbers",
    "hook.*": "Webhooks we send",
    "notice.*": "Notices",
    "consents.*": "Consents made invalid",
    "purpose.*": "Purposes",
    "user.*": "Users",
    "key.*": "API keys",
    "template.*": "Templates",
    "rates.*": "Rate cards",
    "session.*": "Sign-ins",
    "retention.*": "What was deleted after its time",
}


def _about(entry: Entry) -> str:
    """What it was done to by name; people only by the end of their id: the log names nobody."""
    kind = words.OBJECTS.get(entry.object_kind, words.plain(entry.object_kind))
    if entry.object_name:
        return f"{kind} {entry.object_name}"
    return f"{kind} …{entry.object_id[-6:]}" if entry.object_id else kind


st.title("Who did what")
left, right = st.columns(2)
with left:
    kind = st.selectbox("What", list(KINDS), format_func=KINDS.__getitem__, key="log_kind")
with right:
    actor = (st.text_input("Who", key="log_actor", placeholder="Name") or "").strip()
asked = f"{kind}|{actor}"
if st.session_state.get("log_asked") != asked:
    st.session_state["log_asked"], st.session_state["log_cursors"] = asked, [""]
cursors: list[str] = st.session_state["log_cursors"]
page = session.oversight().audit_log(action=kind or "", actor=actor, cursor=cursors[-1])
zone = get_settings().time_zone
if page.items:
    controls.table(
        {
            "When": [format.instant(entry.at, zone) for entry in page.items],
            "Who": [entry.actor for entry in page.items],
            "What": [words.plain(entry.action.replace(".", " ")) for entry in page.items],
            "About": [_about(entry) for entry in page.items],
            "Why": [entry.reason or format.DASH for entry in page.items],
        }
    )
else:
    st.info("Nothing of this kind is on record.")
with st.container(horizontal=True):
    if len(cursors) > 1 and st.button("Newer", key="log_newer", icon=":material/chevron_left:"):
        cursors.pop()
        st.rerun()
    if page.next and st.button("Older", key="log_older", icon=":material/chevron_right:"):
        cursors.append(page.next)
        st.rerun()
