"""Who wrote to us, and what do we answer?"""

from datetime import UTC, datetime

import streamlit as st

from core.settings import get_settings
from dashboard import chat, controls, format, markup, session
from dashboard.chat_payloads import Conversation

PAGE = 20
LINES = 50
MOST = 200  # the API's largest page
SHOWN = {"open": "Open", "mine": "Mine", "nobody": "Unassigned", "closed": "Closed"}


def _title(row: Conversation) -> str:
    return row.name or row.phone_masked or "No name"


def _controls() -> tuple[str, str]:
    """Which conversations are asked for, and the words to search."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        shown = st.segmented_control(
            "Show", list(SHOWN), default="open", required=True, format_func=SHOWN.__getitem__, key="inbox_shown"
        )
    with right:
        query = st.text_input("Search", key="inbox_search", type="search", placeholder="Name, number or words") or ""
    return str(shown), query.strip()


def _list(shown: str, query: str, zone: str) -> str | None:
    """The conversations that fit the controls; returns the chosen one's id."""
    many = st.session_state.setdefault("inbox_many", PAGE)
    found = session.client().conversations(
        status="" if query else "closed" if shown == "closed" else "open",
        assignee={"mine": "me", "nobody": "nobody"}.get(shown, ""),
        q=query,
        limit=many,
    )
    if not found.items:
        st.info("Nothing matches." if query else "Nobody is waiting. When people write, they appear here.")
    chosen = st.query_params.get("conversation")
    for row in found.items:
        _row(row, zone, is_chosen=row.id == chosen)
    if found.next and many < MOST and st.button("Show more", key="inbox_more"):
        st.session_state["inbox_many"] = min(MOST, many + PAGE)
        st.rerun()
    return chosen


def _row(row: Conversation, zone: str, *, is_chosen: bool) -> None:
    label = f"**{markup.markdown_text(_title(row))}**"
    label += f" :blue-badge[{row.unread} new]" if row.unread else ""
    label += " :orange-badge[wants a person]" if row.handed_over else ""
    with st.container(border=True, key=f"row_{row.id}", gap="xsmall"):
        if st.button(label, key=f"open_{row.id}", type="secondary" if is_chosen else "tertiary"):
            st.query_params["conversation"] = row.id
            if row.unread:
                session.client().act_on_conversation(row.id, "read")
            st.rerun()
        words = (row.last_words or "").replace("\n", " ")
        st.caption(markup.markdown_text(words[:80] + ("…" if len(words) > 80 else "")) or "*no text*")
        facts = [format.instant(row.last_inbound_at, zone)]
        facts += [f"about {row.campaign}"] if row.campaign else []
        facts += [row.assignee] if row.assignee else []
        st.caption(markup.markdown_text(" · ".join(facts)))


def _open(conversation_id: str, zone: str) -> None:
    client = session.client()
    row = client.conversation(conversation_id)
    st.subheader(_title(row), anchor=False)
    facts = [row.phone_masked or "no number", f"to {row.sender}"]
    facts += [f"answers the campaign {row.campaign}"] if row.campaign else []
    st.caption(markup.markdown_text(" · ".join(facts)))
    controls.contact_link(row.contact_id)
    _handle(row)
    st.fragment(_lines, run_every=5)(row, zone)
    _answer(row, zone)


def _lines(row: Conversation, zone: str) -> None:
    many = st.session_state.setdefault("lines_many", LINES)
    page = session.client().thread(row.id, many)
    if page.next and many < MOST and st.button("Earlier messages", key="earlier"):
        st.session_state["lines_many"] = min(MOST, many + LINES)
        st.rerun()
    st.html(chat.thread(page.items, zone))


def _handle(row: Conversation) -> None:
    """Who looks after it, and whether it is done."""
    client = session.client()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        agents = {agent.id: agent.name for agent in client.agents()}
        options = ["", *agents]
        key = f"assignee_{row.id}_{row.assignee_id or ''}"
        given = st.selectbox(
            "Looked after by",
            options,
            index=options.index(row.assignee_id) if row.assignee_id in agents else 0,
            format_func=lambda one: agents.get(one, "nobody yet"),
            key=key,
        )
        if (given or None) != row.assignee_id:
            client.act_on_conversation(row.id, "assign", {"user_id": given or None})
            st.rerun()
    with right:
        verb = "close" if row.status == "open" else "reopen"
        if st.button("Done" if verb == "close" else "Open again", key=f"{verb}_conversation", width="stretch"):
            client.act_on_conversation(row.id, verb)
            st.rerun()


def _answer(row: Conversation, zone: str) -> None:
    if row.window_ends_at <= datetime.now(UTC):
        st.info(
            f"Free text was allowed until {format.instant(row.window_ends_at, zone)}, 24 hours after the last message. "
            "Wait until the person writes again, or reach them with a template in a campaign."
        )
        return
    with st.form("answer", clear_on_submit=True, border=False):
        text = st.text_area("Answer", key="answer_text", max_chars=4096, height=100) or ""
        left, right = st.columns([3, 1], vertical_alignment="center")
        with left:
            st.caption(f"Free text may be sent until {format.instant(row.window_ends_at, zone)}.")
        with right:
            pressed = st.form_submit_button("Send", type="primary", key="answer_button", width="stretch")
    if pressed and not text.strip():
        st.warning("Write something first.")
    elif pressed:
        session.client().answer(row.id, text, controls.once_key(f"answer_{row.id}"))
        controls.done_with(f"answer_{row.id}")
        st.rerun()


st.title("Inbox")
zone = get_settings().time_zone
shown, query = _controls()
left, right = st.columns([2, 3], gap="medium")
chosen = None
with left, session.guard("list"):
    chosen = _list(shown, query, zone)
with right, session.guard("thread"):
    if chosen:
        _open(chosen, zone)
    else:
        st.info("Choose a conversation on the left.")
