"""Who wrote what may have been a stop, and was it one?"""

from functools import partial

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, session, words
from dashboard.chat_payloads import Hold

PAGE = 20
RESTRICTION = "restriction"  # a hold the person asked for: nothing they wrote is in doubt, and it never becomes a stop


def _card(hold: Hold, zone: str) -> None:
    with st.container(border=True, key=f"hold_{hold.contact_id}"):
        left, right = st.columns([3, 1], vertical_alignment="center")
        with left:
            if hold.reason == RESTRICTION:
                st.markdown("**Nothing is sent while they want it so.** It stands until somebody lifts it.")
            else:
                st.markdown(f"> {markup.markdown_text(hold.words)}" if hold.words else "*There is no text.*")
            who = " · ".join(part for part in (hold.name, hold.phone_masked, hold.language) if part)
            st.caption(markup.markdown_text(who or "No name"))
            facts = [words.purpose(hold.purpose), words.consent_reason(hold.reason)]
            facts += [f"on hold since {format.instant(hold.placed_at, zone)}"] if hold.placed_at else []
            facts += [f"counts as a stop from {format.instant(hold.decided_at, zone)} on"] if hold.decided_at else []
            st.caption(markup.markdown_text(" · ".join(facts)))
            controls.contact_link(hold.contact_id)
        with right:
            _buttons(hold)


def _buttons(hold: Hold) -> None:
    def decide(verb: str, reason: str) -> None:
        session.client().decide_hold(hold.contact_id, verb, reason)

    is_asked = hold.reason == RESTRICTION
    controls.ask_reason(
        "Lift it" if is_asked else "It was no stop",
        key=f"release_{hold.contact_id}",
        act=lambda reason: decide("release", reason),
        help_text="Messages go to this person again. The reason is kept as evidence.",
    )
    if is_asked:
        return
    controls.ask_reason(
        "It was a stop",
        key=f"withdraw_{hold.contact_id}",
        act=lambda reason: decide("withdraw", reason),
        help_text="The consent ends, and only the person can give it again.",
        primary=True,
    )


st.title("On hold")
st.caption(
    "What these people wrote may have been a stop, so nothing goes to them. They were asked once; when nobody decides "
    "within seven days, it counts as a stop. Who asked to be sent nothing for a while is here too."
)
many = st.session_state.setdefault("holds_many", PAGE)
query = (st.text_input("Search", key="holds_search", type="search", placeholder="Name, number or words") or "").strip()
page = session.client().holds(many, query)
for hold in page.items:
    _card(hold, get_settings().time_zone)
if not page.items:
    if query:
        st.info("Nobody on hold fits.")
    else:
        st.success("Nobody is on hold.")
else:
    controls.csv_button(
        "Save this list as CSV", partial(session.client().holds_csv, query), "on-hold.csv", key="holds_csv"
    )
if page.next and many < 200 and st.button("Show more", key="more_holds"):
    st.session_state["holds_many"] = min(200, many + PAGE)
    st.rerun()
