"""Tracked links and what people bought: counted once, credited to the right person, never in the way."""

import asyncio
from typing import Any

from sqlalchemy import select, text

from core.models import Contact, Link
from tests.factories import (
    FILLED,
    a_campaign,
    a_sender,
    a_template,
    an_audience,
    an_import,
    consenting,
    csv_of,
    launched,
)
from tests.integration.stack import Stack

PHONE = "+4917012345600"
BROWSER = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"
SHOP = "https://shop.example/sale?utm=wa&empty=#top"


async def a_code(stack: Stack) -> str:
    """The code in the link of one message that went out."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(PHONE)]))
    variant = {"label": "A", "template_id": template["id"], "parameters": {**FILLED, "button.0": {"link": SHOP}}}
    await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack), variants=[variant]))
    await stack.settle()
    async with stack.sessions() as session:
        return (await session.scalars(select(Link.code))).one()


async def test_a_link_leads_to_the_shop_and_tells_people_from_programs(stack: Stack) -> None:
    code = await a_code(stack)
    agents = [BROWSER, "WhatsApp/2.24.1 A", "facebookexternalhit/1.1", "curl/8.5.0", "", "Googlebot/2.1", "x" * 10_000]
    for agent in agents:
        answer = await stack.client.get(f"/r/{code}", headers={"user-agent": agent})
        assert answer.status_code == 302
        assert answer.headers["location"] == f"https://shop.example/sale?utm=wa&empty=&kairan_code={code}#top"
        assert answer.headers["cache-control"] == "no-store"
    head = await stack.client.head(f"/r/{code}", headers={"user-agent": BROWSER})
    assert (head.status_code, head.content) == (302, b"")

    for unknown in ("nope", f"{code}x", code.swapcase(), "%00", "%ff", "..%2f..", "x" * 5000):
        answer = await stack.client.get(f"/r/{unknown}")
        assert answer.status_code in (400, 404), unknown
        assert "location" not in answer.headers
    async with stack.sessions() as session:
        rows = (
            await session.execute(text("SELECT method, is_bot, length(user_agent) FROM link_hits ORDER BY id"))
        ).all()
        clicks = (
            await session.execute(text("SELECT is_bot FROM message_events WHERE kind = 'click' ORDER BY id"))
        ).all()
    bots = [False, True, True, True, True, True, False, True]
    assert [row.is_bot for row in rows] == bots == [click.is_bot for click in clicks]
    assert [row.method for row in rows] == ["GET"] * 7 + ["HEAD"]
    assert max(row.length or 0 for row in rows) == 300


def an_order(order_id: str, **changes: Any) -> dict[str, Any]:
    order = {"kind": "order", "order_id": order_id, "occurred_at": "2026-11-20T10:00:00Z", "currency": "USD"}
    return {**order, "amount_micros": 19_990_000, **changes}


async def test_each_order_and_refund_is_kept_once_and_credited_to_its_person(stack: Stack) -> None:
    code = await a_code(stack)
    async with stack.sessions() as session:
        contact_id = str((await session.scalars(select(Contact.id))).one())

    async def report(*items: dict[str, Any]) -> tuple[int, int, int]:
        answer = await stack.client.post("/api/conversions", json={"items": list(items)})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return told["recorded"], told["duplicates"], told["unmatched"]

    refund = an_order("1", kind="refund", refund_id="r1", amount_micros=5_000_000)
    assert await report(an_order("1", link_code=code), an_order("1", link_code=code), refund) == (2, 1, 1)
    assert await report(an_order("1", amount_micros=1), refund) == (0, 2, 0)
    assert await report({**refund, "refund_id": "r2"}, an_order("2", contact_id=contact_id)) == (2, 0, 1)
    assert await report(an_order("3", phone="0170 12345600"), an_order("4", phone="+49 (170) 123456-00")) == (2, 0, 0)
    stranger = an_order("5", contact_id="00000000-0000-0000-0000-000000000000")
    unknown = [
        an_order("6", link_code="nope"),
        an_order("7", phone="not a number"),
        an_order("8", phone="+4917099999999"),
    ]
    assert await report(stranger, *unknown, an_order("9")) == (5, 0, 5)

    at_once = await asyncio.gather(*(report(an_order("10", link_code=code), an_order("11")) for _ in range(8)))
    assert sum(recorded for recorded, _, _ in at_once) == 2
    async with stack.sessions() as session:
        rows = (await session.execute(text("SELECT order_id, contact_id FROM conversions WHERE kind = 'order'"))).all()
    credited = {row.order_id for row in rows if row.contact_id is not None}
    assert sorted(row.order_id for row in rows) == sorted(str(number) for number in range(1, 12))
    assert credited == {"1", "2", "3", "4", "10"}


async def test_one_wrong_item_keeps_the_whole_report_out_and_is_named(stack: Stack) -> None:
    wrong = [
        (an_order("2", currency="EUR"), 422),
        (an_order("2", currency="usd"), 400),
        (an_order("2", amount_micros=-1), 400),
        (an_order("2", amount_micros=1.5), 400),
        (an_order("2", amount_micros=10**30), 400),
        (an_order("2", occurred_at="2026-11-20T10:00:00"), 422),
        (an_order("2", occurred_at="2099-01-01T00:00:00Z"), 422),
        (an_order("2", occurred_at="0001-01-01T00:00:00+14:00"), 400),
        (an_order("2", refund_id="r"), 422),
        (an_order("2", kind="refund"), 422),
        (an_order("2", phone=PHONE, link_code="x"), 422),
        (an_order("x" * 201), 400),
    ]
    for item, status in wrong:
        answer = await stack.client.post("/api/conversions", json={"items": [an_order("1"), item]})
        assert answer.status_code == status, (item, answer.text)
        if status == 422:
            assert answer.json()["errors"][0]["field"].startswith("items[1]"), answer.text
    async with stack.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM conversions"))).scalar_one() == 0
