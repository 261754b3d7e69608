"""Widgets several pages share; each returns plain values."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from uuid import uuid4

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import format, markup, words
from dashboard.campaign_payloads import Campaign

PERIODS = {"7 days": 7, "30 days": 30, "90 days": 90}


def date_window(today: date) -> tuple[date, date]:
    """[since, until) of the chosen period in the organisation's days; `until` is the day after the last one shown."""
    until = today + timedelta(days=1)
    chosen = st.segmented_control(
        "Period", [*PERIODS, "Own dates"], default="30 days", key="period", required=True, width="content"
    )
    if chosen != "Own dates":
        return until - timedelta(days=PERIODS[str(chosen)]), until
    picked = st.date_input("From and to", (today - timedelta(days=29), today), max_value=today, key="own_dates")
    if not isinstance(picked, tuple) or len(picked) != 2:
        st.info("Choose the last day of the period too.")
        st.stop()
    return picked[0], picked[1] + timedelta(days=1)


def campaign_picker(campaigns: Sequence[Campaign], *, key: str, prefer: frozenset[str] = frozenset()) -> Campaign:
    """The chosen campaign; the address remembers it (`?campaign=`), else the first whose status is preferred."""
    by_id = {campaign.id: campaign for campaign in campaigns}
    if st.session_state.get(key) not in by_id:
        asked = st.query_params.get("campaign")
        first = next((campaign.id for campaign in campaigns if campaign.status in prefer), campaigns[0].id)
        st.session_state[key] = asked if asked in by_id else first
    chosen = st.selectbox(
        "Campaign",
        list(by_id),
        format_func=lambda one: _title(by_id[one]),
        key=key,
    )
    st.query_params["campaign"] = chosen
    return by_id[chosen]


def _title(campaign: Campaign) -> str:
    """Name and day; not the status, which would be that of the moment the page was opened."""
    at = campaign.launched_at or campaign.send_at or campaign.created_at
    return f"{campaign.name} · {at.day} {at:%b %Y}" if at else campaign.name


def once_key(name: str) -> str:
    """An idempotency key that stays the same until `done_with(name)`, so that a second click repeats nothing."""
    keys: dict[str, str] = st.session_state.setdefault("once_keys", {})
    return keys.setdefault(name, uuid4().hex)


def done_with(name: str) -> None:
    keys: dict[str, str] = st.session_state.setdefault("once_keys", {})
    keys.pop(name, None)


def ask_reason(label: str, *, key: str, act: Callable[[str], None], help_text: str, primary: bool = False) -> None:
    """A button that opens a small form asking why; `act` gets the reason. Who acted and why goes to the audit log.

    Once it is done the form closes, so that it does not hide what it led to.
    """
    opened = f"{key}_opened"
    with st.popover(label, key=f"{key}_open_{st.session_state.get(opened, 0)}"):
        with st.form(f"{key}_form", border=False, clear_on_submit=True):
            st.caption(help_text)
            reason = (st.text_input("Reason", key=f"{key}_reason", max_chars=200) or "").strip()
            pressed = st.form_submit_button(label, key=key, type="primary" if primary else "secondary")
        if pressed and not reason:
            st.warning("Please say why: the reason is kept.")
        elif pressed:
            act(reason)
            st.session_state[opened] = st.session_state.get(opened, 0) + 1
            st.rerun()


def contact_link(contact_id: str) -> None:
    """Leads to the person's page; for those who may see it."""
    address = {"contact": contact_id}
    st.page_link("views/contacts.py", label="Open the contact", icon=":material/person:", query_params=address)


def pager(following: str | None, cursors: list[str], *, key: str) -> None:
    """Newer and older, for a list whose pages so far are `cursors`."""
    with st.container(horizontal=True):
        if len(cursors) > 1 and st.button("Newer", key=f"{key}_newer", icon=":material/chevron_left:"):
            cursors.pop()
            st.rerun()
        if following and st.button("Older", key=f"{key}_older", icon=":material/chevron_right:"):
            cursors.append(following)
            st.rerun()


def csv_button(label: str, read: Callable[[], bytes], filename: str, *, key: str) -> None:
    """Saves a list as CSV; it is asked for when the button is pressed, not before."""
    st.download_button(label, read, file_name=filename, mime="text/csv", key=key, icon=":material/download:")


def conversation_link(conversation_id: str, label: str) -> None:
    """Leads to the chat with a person; for those who may see it."""
    address = {"conversation": conversation_id}
    st.page_link("views/inbox.py", label=label, icon=":material/chat:", query_params=address)


def cells(number: int, *, min_width: int, bottom: bool = False) -> list[DeltaGenerator]:
    """Places side by side, fewer to a row where each would get less than `min_width` pixels."""
    grid = st.grid(number, min_column_width=min_width, vertical_alignment="bottom" if bottom else "top")
    return [grid.cell() for _ in range(number)]


def table(columns: dict[str, list[str]]) -> None:
    """A small table; what the cells hold is shown as it is. (Streamlit's own table would read it as Markdown.)"""
    st.html(markup.table(columns))


def reasons_table(reasons: dict[str, int], *, whole: int, noun: str) -> None:
    """Reasons with their share of `whole`, most frequent first; words that mean the same to people are one reason."""
    people: dict[str, int] = {}
    for word, number in reasons.items():
        people[words.reason(word)] = people.get(words.reason(word), 0) + number
    ordered = sorted(people.items(), key=lambda item: -item[1])
    table(
        {
            "Reason": [said for said, _ in ordered],
            "People": [format.rate(number, whole, noun) for _, number in ordered],
        }
    )
