"""Rate cards: the provider's own and plain ones, per country; and what a message costs by them."""

from datetime import date

import pytest
from sqlalchemy import text

from core.models import Message
from tests.integration.stack import Stack
from tests.integration.test_webhooks import a_sent_campaign, body, change, deliver, status

CARD = """WhatsApp Business Platform rate card,,,,,,
"Prices per delivered message, without tax",,,,,,
Market,Currency,Marketing,Utility,Authentication,Authentication-International,Service
Germany,$US,0.1365,0.0550,0.0550,n/a,0.0550
Nigeria,$US,0.0516,0.0067,0.0067,0.0750,0.0067
Rest of Africa,$US,0.0225,0.0040,0.0040,n/a,0.0040
Other,$US,0.0604,0.0077,0.0077,n/a,0.0077

n/a: the category is not offered,,,,,,
"""


async def load(stack: Stack, content: str, since: str | None = "2026-10-01") -> tuple[int, str]:
    form = {"effective_from": since} if since else {}
    file = {"file": ("usd.csv", content.encode(), "text/csv")}
    answer = await stack.client.post("/api/rates", files=file, data=form)
    return answer.status_code, answer.text


async def price(stack: Stack, country: str, category: str, on: str = "2026-11-22") -> int | None:
    async with stack.sessions() as session:
        found = await session.execute(
            text("SELECT price_micros(:country, :category, :day)"),
            {"country": country, "category": category, "day": date.fromisoformat(on)},
        )
        return found.scalar_one()  # type: ignore[no-any-return]


async def test_the_providers_card_prices_every_country(stack: Stack) -> None:
    assert (await load(stack, CARD))[0] == 201

    assert await price(stack, "DE", "marketing") == 136_500
    assert await price(stack, "NG", "marketing") == 51_600  # its own, not its region's
    assert await price(stack, "NG", "authentication_abroad") == 75_000
    assert await price(stack, "KE", "utility") == 4_000  # by its region
    assert await price(stack, "JP", "service") == 7_700  # nobody else names it
    assert await price(stack, "DE", "authentication_abroad") is None
    assert await price(stack, "DE", "marketing", on="2026-09-30") is None  # not yet in force
    listed = (await stack.client.get("/api/rates", params={"market": "de"})).json()["items"]
    assert {(rate["category"], rate["source"]) for rate in listed} == {
        (category, "usd.csv") for category in ("marketing", "utility", "authentication", "service")
    }


async def test_a_newer_card_holds_from_its_day_and_the_same_day_again_corrects(stack: Stack) -> None:
    await load(stack, CARD)
    await load(stack, CARD.replace("0.1365", "0.1400"), since="2026-11-01")
    assert (await price(stack, "DE", "marketing", "2026-10-31"), await price(stack, "DE", "marketing")) == (
        136_500,
        140_000,
    )
    await load(stack, CARD.replace("0.1365", "0.1500"), since="2026-11-01")
    assert await price(stack, "DE", "marketing") == 150_000


@pytest.mark.parametrize(
    ("content", "since", "word"),
    [
        (CARD, None, "effective_from"),
        (CARD.replace("$US", "EUR"), "2026-10-01", "KAIRAN_CURRENCY"),
        (CARD.replace("Germany", "Atlantis"), "2026-10-01", "row 4"),
        (CARD.replace("0.1365", "cheap"), "2026-10-01", "row 4"),
        (CARD.replace("Currency", "Money"), "2026-10-01", "currency"),
    ],
)
async def test_a_card_that_cannot_be_right_is_refused(stack: Stack, content: str, since: str | None, word: str) -> None:
    status_code, said = await load(stack, content, since)
    assert status_code == 422 and word in said, said


@pytest.mark.parametrize(
    ("pricing", "cost"),
    [
        ({"type": "regular", "category": "marketing", "billable": True}, 136_500),
        ({"type": "regular", "category": "marketing_lite"}, 136_500),
        ({"type": "regular", "category": "utility", "billable": True}, 55_000),  # what it was charged as decides
        ({"type": "regular", "category": "authentication-international"}, 136_500),  # no such price: the template's
        ({"type": "free_customer_service", "category": "utility", "billable": False}, 0),
        ({"type": "free_entry_point", "category": "referral_conversion"}, 0),
        (None, None),
    ],
)
async def test_a_pricing_object_becomes_cost(stack: Stack, pricing: dict[str, object] | None, cost: int | None) -> None:
    await load(stack, CARD)
    ((message_id, wamid), *_) = await a_sent_campaign(stack)
    more = {"pricing": pricing} if pricing else {}
    report = status(wamid, "delivered", biz_opaque_callback_data=message_id, **more)

    for _ in range(2):
        await deliver(stack, body(change(statuses=[report])))
        await stack.work()

    async with stack.sessions() as session:
        row = await session.get_one(Message, message_id)
        spent = await session.scalar(text("SELECT sum(cost_micros) FROM message_events"))
    assert (row.cost_micros, row.country) == (cost, "DE")
    assert spent == cost
