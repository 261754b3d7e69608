"""Expansion: everybody in the audience gets one row, whatever breaks on the way."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.exc import DBAPIError

from core import queue
from core.db import driver, make_engine
from core.models import AudienceMember, Campaign, Contact, Import, LakeHead, Link, Message
from core.services import campaigns, expansion, messages
from core.statuses import CampaignStatus, ImportStatus
from tests.factories import a_campaign, a_sender, a_template, an_audience, launched
from tests.integration.stack import Stack
from worker import expanding, lake

MANY = 2 * expansion.PAGE + 500  # more than one round

_PEOPLE = text(
    "INSERT INTO contacts (name, country, time_zone) SELECT 'Person ' || n, 'DE', 'Europe/Berlin'"
    " FROM generate_series(1, :many) n"
)


async def a_large_campaign(stack: Stack, many: int = MANY, **changes: Any) -> UUID:
    """Launched, with no row yet."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    async with stack.sessions.begin() as session:
        await session.execute(_PEOPLE, {"many": many})
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack), **changes))
    stack.bells.waiting.clear()
    return UUID(campaign["id"])


async def counted(stack: Stack) -> tuple[int, int, int]:
    """Rows, people with a row, and tracked links."""
    async with stack.sessions() as session:
        people = select(func.count(), func.count(Message.contact_id.distinct())).select_from(Message)
        rows, persons = (await session.execute(people)).one()
        links = await session.scalar(select(func.count()).select_from(Link))
    return rows, persons, links or 0


async def test_everybody_gets_one_row_and_one_link_page_after_page(stack: Stack) -> None:
    campaign = await a_large_campaign(stack)

    await expanding.expand_campaign(stack.ctx, str(campaign))

    assert await counted(stack) == (MANY, MANY, MANY)
    async with stack.sessions() as session:
        done = await campaigns.get(session, campaign)
        strays = await session.scalar(
            select(func.count())
            .select_from(Link)
            .join(Message, Message.id == Link.message_id)
            .where(Message.parameters["button.0"].astext != "r/" + Link.code)
        )
    assert (done.status, done.expanded_people, done.audience_size) == (CampaignStatus.SENDING, MANY, MANY)
    assert strays == 0


async def test_a_round_that_broke_half_way_is_done_again_and_nobody_gets_two_rows(stack: Stack) -> None:
    campaign = await a_large_campaign(stack, expansion.PAGE + 40, holdout=0.1)
    await expanding.expand_campaign(stack.ctx, str(campaign))
    before = await counted(stack)
    async with stack.sessions.begin() as session:  # the second page came, a part of the first did not, no cursor moved
        some = select(Message.id).order_by(Message.contact_id).limit(300).scalar_subquery()
        await session.execute(delete(Message).where(Message.id.in_(some)))
        again = {"status": CampaignStatus.EXPANDING, "expand_cursor": None, "expanded_people": 0, "expanded_at": None}
        await session.execute(update(Campaign).values(**again))

    await expanding.expand_campaign(stack.ctx, str(campaign))

    assert await counted(stack) == before


async def test_three_workers_on_one_campaign_make_each_row_once(stack: Stack) -> None:
    campaign = await a_large_campaign(stack)

    await asyncio.gather(*(expanding.expand_campaign(stack.ctx, str(campaign)) for _ in range(3)))

    assert await counted(stack) == (MANY, MANY, MANY)


async def test_pausing_stops_between_two_rounds_and_resuming_makes_the_rest(stack: Stack) -> None:
    many = 2 * MANY
    campaign = await a_large_campaign(stack, many)

    async def has_rows() -> bool:
        async with stack.sessions() as session:
            return bool(await session.scalar(select(exists(select(Message.id)))))

    async def pause() -> None:
        async with asyncio.timeout(20):
            while not await has_rows():  # noqa: ASYNC110 - the rows come from another task
                await asyncio.sleep(0.01)
        answer = await stack.client.post(f"/api/campaigns/{campaign}/pause", json={"reason": "wrong picture"})
        assert answer.status_code == 200, answer.text

    await asyncio.gather(pause(), expanding.expand_campaign(stack.ctx, str(campaign)))
    paused = (await stack.client.get(f"/api/campaigns/{campaign}")).json()
    await stack.client.post(f"/api/campaigns/{campaign}/resume")
    await expanding.expand_campaign(stack.ctx, str(campaign))

    assert paused["status"] == "paused"
    assert paused["expansion"]["done"] in (2 * expansion.PAGE, 4 * expansion.PAGE)
    assert paused["expansion"]["expected"] == many
    assert paused["balance"]["audience"] == paused["expansion"]["done"]
    assert await counted(stack) == (many, many, many)


async def test_a_page_makes_nothing_for_a_campaign_that_was_cancelled(stack: Stack) -> None:
    campaign_id = await a_large_campaign(stack, 50)
    async with stack.sessions() as session:
        campaign = await campaigns.get(session, campaign_id)
        plan = expansion.Plan(campaign, await campaigns.arms(session, campaign_id), "UTC", campaign.created_at)
        page = (await expansion.next_pages(session, select(Contact.id), None, pages=1))[0]
    await stack.client.post(f"/api/campaigns/{campaign_id}/cancel")

    async with stack.sessions.begin() as session:
        made = await expansion.expand(session, plan, page)

    assert not made
    assert (await counted(stack))[0] == 0


async def test_a_static_list_is_expanded_to_its_living_members(stack: Stack) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    made = await stack.client.post("/api/audiences", json={"name": "List", "kind": "static"})
    audience = made.json()
    async with stack.sessions.begin() as session:
        await session.execute(_PEOPLE, {"many": 30})
        people = list(await session.scalars(select(Contact.id).order_by(Contact.id)))
        session.add_all(AudienceMember(audience_id=UUID(audience["id"]), contact_id=each) for each in people[:20])
        await session.execute(update(Contact).where(Contact.id == people[0]).values(closed_at=func.now()))
    campaign = await launched(stack, await a_campaign(stack, sender, template, audience))

    await expanding.expand_campaign(stack.ctx, campaign["id"])

    async with stack.sessions() as session:
        assert set(await session.scalars(select(Message.contact_id))) == set(people[1:20])


@pytest.mark.parametrize("column", ["campaign_id", "variant_id", "contact_id", "sender_id", "template_version_id"])
async def test_a_row_that_names_what_is_not_there_is_refused_and_stays_what_it_was(stack: Stack, column: str) -> None:
    campaign = await a_large_campaign(stack, 3)
    await expanding.expand_campaign(stack.ctx, str(campaign))
    columns = "campaign_id, variant_id, contact_id, sender_id, template_version_id"
    newcomer = columns.replace("contact_id", "(SELECT max(id::text)::uuid FROM contacts)")
    values = (columns if column == "contact_id" else newcomer).replace(column, "CAST(:stranger AS uuid)")
    async with stack.sessions.begin() as session:
        await session.execute(_PEOPLE, {"many": 1})
    copy = (
        f"INSERT INTO messages (kind, priority, {columns}, purpose, category, time_zone, queued_on, status)"
        f" SELECT kind, priority, {values}, purpose, category, time_zone, queued_on, 'cancelled' FROM messages LIMIT 1"
    )
    change = f"UPDATE messages SET {column} = :stranger"

    for statement in (copy, change):
        with pytest.raises(DBAPIError, match=r"that is not there|keeps its"):
            async with stack.sessions.begin() as session:
                await session.execute(text(statement), {"stranger": uuid4()})

    assert (await counted(stack))[0] == 3


@pytest.mark.parametrize("table", ["campaigns", "campaign_variants", "contacts", "senders", "template_versions"])
async def test_what_messages_name_cannot_be_deleted(stack: Stack, table: str) -> None:
    campaign = await a_large_campaign(stack, 3)
    await expanding.expand_campaign(stack.ctx, str(campaign))

    with pytest.raises(DBAPIError, match=f"messages name this row of {table}"):
        async with stack.sessions.begin() as session:
            await session.execute(text(f"DELETE FROM {table}"))


async def test_a_claim_reads_its_own_campaigns_rows_only(stack: Stack) -> None:
    small = await a_large_campaign(stack, 100)
    await expanding.expand_campaign(stack.ctx, str(small))
    found = (await stack.client.get(f"/api/campaigns/{small}")).json()
    sender, template = {"id": found["sender_id"]}, {"id": found["variants"][0]["template_id"]}
    async with stack.sessions.begin() as session:
        await session.execute(_PEOPLE, {"many": 20_000})
    large = await launched(stack, await a_campaign(stack, sender, template, {"id": found["audience_id"]}, name="Large"))
    await expanding.expand_campaign(stack.ctx, large["id"])
    await stack.client.post(f"/api/campaigns/{large['id']}/pause", json={"reason": "not yet"})
    owner = make_engine(stack.settings.database_url, role=None)
    async with owner.begin() as connection:
        await connection.execute(text("UPDATE messages SET not_before = now() WHERE campaign_id = :id"), {"id": small})
        await connection.execute(text("ANALYZE messages"))
    await owner.dispose()
    read = text(
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        " WHERE relname = 'messages'"
    )

    async with driver(stack.sessions) as connection, connection.transaction():
        before = await connection.fetchval(str(read))  # what this connection did earlier may still be counted
        claimed = await messages.claim(connection, UUID(found["sender_id"]), small, limit=20)
        rows_read = await connection.fetchval(str(read)) - before

    assert len(claimed) == 20
    assert rows_read <= 300  # the other campaign's 20,000 would show


async def test_the_lake_waits_for_the_last_row_but_not_for_ever(stack: Stack) -> None:
    await a_large_campaign(stack, many=5)
    rung: dict[str, bool] = {}

    async with stack.sessions.begin() as session:
        session.add(LakeHead(lake="main", version=1, manifest={}))
    for age in ("70 seconds", "6 minutes"):
        async with stack.sessions.begin() as session:
            await session.execute(text(f"UPDATE lake_head SET updated_at = now() - interval '{age}'"))
        await lake.ring_refresh(stack.ctx)
        rung[age] = bool(stack.bells.waiting)
        stack.bells.waiting.clear()
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE lake_head SET updated_at = now() - interval '70 seconds'"))
        await session.execute(update(Campaign).values(status=CampaignStatus.SENDING))
        session.add(Import(filename="a.csv", path="", sha256="", bytes=0, options={}, status=ImportStatus.RUNNING))
    await lake.ring_refresh(stack.ctx)
    rung["70 seconds, importing"] = bool(stack.bells.waiting)
    async with stack.sessions.begin() as session:
        await session.execute(update(Import).values(status=ImportStatus.DONE))
    await lake.ring_refresh(stack.ctx)

    assert rung == {"70 seconds": False, "6 minutes": True, "70 seconds, importing": False}
    assert [bell.job for bell in stack.bells.waiting] == [queue.REFRESH_LAKE]
