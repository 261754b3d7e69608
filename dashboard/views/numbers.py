"""Which numbers do we send from, how are they doing, and registering another."""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, session, words
from dashboard.admin_payloads import Number
from dashboard.payloads import Json

QUALITIES = {"GREEN": "High", "YELLOW": "Medium", "RED": "Low", "UNKNOWN": "Not rated yet"}


def _limit(tier: str | None) -> str:
    """`TIER_2K` as people say it."""
    if tier is None:
        return "Not told yet"
    word = tier.removeprefix("TIER_")
    return "No limit" if word == "UNLIMITED" else word.replace("K", ",000")


def _card(number: Number, zone: str, *, may_change: bool) -> None:
    with st.container(border=True, key=f"number_{number.id}"):
        state = ":orange-badge[Paused]" if number.paused_at else ":green-badge[Sending]"
        st.markdown(f"**{markup.markdown_text(number.name)}** {markup.markdown_text(number.display_number)} {state}")
        name = f"People see “{number.verified_name}”" if number.verified_name else "WhatsApp has not approved a name"
        st.caption(markup.markdown_text(f"{name} · number id {number.phone_number_id} · account {number.waba_id}"))
        if number.paused_at:
            why = markup.markdown_text(number.pause_reason or "no reason given")
            st.warning(f"Paused since {format.instant(number.paused_at, zone)}: {why}")
        tiles = controls.cells(3, min_width=150)
        tiles[0].metric("Quality", QUALITIES.get(number.quality.upper(), words.plain(number.quality)))
        tiles[1].metric("Messages a second", format.count(number.messages_per_second))
        tiles[2].metric("People in 24 hours", _limit(number.limit_tier))
        if may_change:
            _buttons(number)


def _buttons(number: Number) -> None:
    client = session.admin()
    with st.container(horizontal=True, gap="small"):
        if number.paused_at:
            if st.button("Resume", key=f"resume_{number.id}", type="primary"):
                client.act_on_number(number.id, "resume")
                st.rerun()
        else:
            controls.ask_reason(
                "Pause",
                key=f"pause_{number.id}",
                act=lambda reason: client.act_on_number(number.id, "pause", {"reason": reason}),
                help_text="Nothing new is sent from this number, in any campaign, until it is resumed.",
            )
        if st.button("Connect webhooks", key=f"subscribe_{number.id}", help="Asks WhatsApp to report to Kairan."):
            client.act_on_number(number.id, "subscribe")
            st.toast("WhatsApp reports to Kairan now.")
        with st.popover("Change", key=f"change_{number.id}"), st.form(f"form_{number.id}", border=False):
            name = st.text_input("Name", value=number.name, key=f"name_{number.id}", max_chars=100) or ""
            pace = st.number_input(
                "Messages a second", 1, 1000, number.messages_per_second, key=f"pace_{number.id}",
                help="Never more than WhatsApp allows the number, in and out together: 80, or 1,000 when upgraded.",
            )  # fmt: skip
            red = st.checkbox("Pause when WhatsApp rates it low", value=number.pause_on_red, key=f"red_{number.id}")
            others = st.checkbox(
                "Pause when somebody else sends from it", value=number.pause_on_orphans, key=f"orphans_{number.id}"
            )
            if st.form_submit_button("Save", type="primary", key=f"save_{number.id}"):
                body: Json = {"name": name.strip(), "messages_per_second": int(pace)}
                client.change_number(number.id, {**body, "pause_on_red": red, "pause_on_orphans": others})
                st.rerun()


def _register(*, is_first: bool) -> None:
    with st.expander("Register a number", expanded=is_first, icon=":material/add_call:", key="register"):
        st.caption("Both ids are in the WhatsApp Manager. WhatsApp is asked before anything is kept.")
        with st.form("register_form", border=False):
            number = (
                st.text_input("Phone number id", key="register_number", placeholder="200000000000002") or ""
            ).strip()
            account = (
                st.text_input("Account id (WABA)", key="register_account", placeholder="1000000001") or ""
            ).strip()
            name = (st.text_input("Name for us", key="register_name", placeholder="Shop", max_chars=100) or "").strip()
            pressed = st.form_submit_button("Register", type="primary", key="register_button")
        if pressed and not (number and account and name):
            st.warning("All three are needed.")
        elif pressed:
            key = f"number_{number}_{account}_{name}"
            body: Json = {"phone_number_id": number, "waba_id": account, "name": name}
            made = session.admin().add_number(body, controls.once_key(key))
            controls.done_with(key)
            st.toast(f"WhatsApp knows it as {made.display_number}. Connect its webhooks next.")
            st.rerun()


st.title("Numbers")
numbers = session.admin().numbers()
may_change = session.may_run_campaigns()
if not numbers:
    st.info("No number is registered yet, so nothing can be sent.")
for each in numbers:
    with session.guard(f"number_{each.id}"):
        _card(each, get_settings().time_zone, may_change=may_change)
if may_change:
    with session.guard("register"):
        _register(is_first=not numbers)
