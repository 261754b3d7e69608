"""What does a message cost, and since when?"""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, session, words
from dashboard.admin_payloads import Card

PAGE = 50


def _cards(cards: list[Card], zone: str) -> None:
    if any(card.is_demo for card in cards):
        st.warning("Some prices are made up for the demonstration. Import WhatsApp's own card before you trust a cost.")
    controls.table(
        {
            "From": [f"{card.effective_from:%d %b %Y}" for card in cards],
            "Card": [card.source for card in cards],
            "Currency": [card.currency for card in cards],
            "Countries": [format.count(card.markets) for card in cards],
            "Prices": [format.count(card.prices) for card in cards],
            "Imported": [format.instant(card.loaded_at, zone) for card in cards],
        }
    )


def _load() -> None:
    with st.expander("Import a rate card", icon=":material/upload:", key="load_card"):
        st.caption(
            "WhatsApp's CSV as it is, in the currency of this installation "
            f"({get_settings().currency}), or a list with market, category, currency, price and effective_from."
        )
        file = st.file_uploader("CSV file", type=["csv"], key="card_file")
        since = st.date_input(
            "Holds from", value=None, key="card_from", help="Needed for WhatsApp's own file, which does not say it."
        )
        if st.button("Import", type="primary", key="card_button", disabled=file is None) and file is not None:
            rows = session.admin().load_rates(file.name, file.getvalue(), since.isoformat() if since else "")
            st.toast(f"{format.count(rows)} prices imported.")
            st.rerun()


def _prices() -> None:
    st.subheader("Prices")
    market = (st.text_input("Country", key="rates_market", max_chars=2, placeholder="DE") or "").strip()
    if st.session_state.get("rates_asked") != market:
        st.session_state["rates_asked"], st.session_state["rates_cursors"] = market, [""]
    cursors: list[str] = st.session_state["rates_cursors"]
    page = session.admin().rates(market=market, cursor=cursors[-1], limit=PAGE)
    if not page.items:
        st.info("There is no price for this country." if market else "There are no prices yet.")
        return
    controls.table(
        {
            "Country": [rate.market for rate in page.items],
            "Category": [words.plain(rate.category) for rate in page.items],
            "Price": [f"{rate.price_micros / 1_000_000:.4f} {rate.currency}" for rate in page.items],
            "From": [f"{rate.effective_from:%d %b %Y}" for rate in page.items],
            "Card": [rate.source for rate in page.items],
        }
    )
    controls.pager(page.next, cursors, key="rates")


st.title("Rate cards")
st.caption("Costs are worked out from these prices and from what WhatsApp reports to have charged.")
with session.guard("cards"):
    cards = session.admin().cards()
    if cards:
        _cards(cards, get_settings().time_zone)
    else:
        st.info("No rate card yet: campaigns show no cost until one is imported.")
if session.may_run_campaigns():
    with session.guard("load"):
        _load()
with session.guard("prices"):
    _prices()
