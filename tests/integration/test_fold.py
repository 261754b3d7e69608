"""Folding reports into messages: the set-wise statement against a slow and obvious one, in any order, repeated."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from core.models import Message, MessageEvent
from core.services import folding
from core.services.folding import Report
from core.statuses import DeliveryStatus, EventKind, latest_delivery
from tests.integration.stack import Stack
from tests.integration.test_sending import PEOPLE, a_running_campaign

START = datetime(2026, 10, 1, 9, tzinfo=UTC)
KINDS = [EventKind.ACCEPTED, EventKind.SENT, EventKind.DELIVERED, EventKind.READ, EventKind.FAILED]


def reports_for(ids: Sequence[UUID], draw: random.Random) -> list[Report]:
    """A few true things about each message."""
    return [
        Report(
            kind,
            START + timedelta(seconds=draw.randint(0, 3600)),
            message_id=message_id,
            wamid=f"wamid.{message_id}",
            error_code=131026 if kind is EventKind.FAILED else None,
        )
        for message_id in ids
        for kind in draw.sample(KINDS, k=draw.randint(1, 5))
    ]


def expected(reports: Sequence[Report]) -> tuple[DeliveryStatus, dict[str, datetime | None]]:
    status = DeliveryStatus.SENDING
    for report in reports:
        status = latest_delivery(status, DeliveryStatus(report.kind.value))
    firsts = {
        f"{kind}_at": min((report.occurred_at for report in reports if report.kind == kind), default=None)
        for kind in KINDS
    }
    return status, firsts


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_and_any_repetition_gives_what_the_obvious_loop_gives(stack: Stack, seed: int) -> None:
    await a_running_campaign(stack, PEOPLE)
    draw = random.Random(seed)
    async with stack.sessions.begin() as session:
        ids = list(await session.scalars(select(Message.id).order_by(Message.id)))
        await session.execute(update(Message).values(status=DeliveryStatus.SENDING))
    reports = reports_for(ids, draw)
    heard = draw.sample(reports * 2, k=2 * len(reports))

    while heard:
        size = draw.randint(1, 40)
        async with stack.sessions.begin() as session:
            await folding.fold(session, heard[:size])
        heard = heard[size:]

    async with stack.sessions() as session:
        rows = {row.id: row for row in await session.scalars(select(Message))}
        facts = await session.scalar(select(func.count()).select_from(MessageEvent))
    assert facts == len({report.key for report in reports})
    for message_id in ids:
        status, firsts = expected([report for report in reports if report.message_id == message_id])
        row = rows[message_id]
        assert row.status == status
        assert {name: getattr(row, name) for name in firsts} == firsts


async def test_a_report_about_nobody_changes_nothing(stack: Stack) -> None:
    stranger = Report(EventKind.READ, START, wamid="wamid.of somebody else")

    async with stack.sessions.begin() as session:
        unknown = await folding.fold(session, [stranger])

    assert unknown == [stranger]
