"""Every code of the provider, really refused by the simulator: what becomes of message, campaign and number."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from core.clock import utc_now
from core.models import Campaign, Message, MessageEvent, Sender, Template
from core.statuses import CampaignStatus, DeliveryStatus, EventKind, TemplateStatus
from core.whatsapp.errors import ERRORS, Action, explain
from sandbox.faults import Fault
from tests.integration.stack import Stack
from tests.integration.test_sending import a_running_campaign, accepted_by_provider
from worker import sending

FINAL = frozenset({Action.SUPPRESS, Action.SUPPRESS_MARKETING, Action.FIX})
PAUSES_NUMBER = frozenset({Action.REFRESH_TOKEN, Action.PAUSE_ACCOUNT, Action.PAUSE_SENDER})
UNLISTED = {999_999: Action.FIX, 250: Action.PAUSE_ACCOUNT}  # codes the table does not name one by one
CODES = {code: row.action for code, row in ERRORS.items()} | UNLISTED


@dataclass(frozen=True)
class Aftermath:
    """What one refused send left behind."""

    status: DeliveryStatus
    error_code: int | None
    attempt: int
    is_later: bool
    refusals: set[int | None]
    campaign: CampaignStatus
    campaign_code: str | None
    sender_code: str | None


async def refused(stack: Stack, campaign: UUID, message: UUID, code: int) -> Aftermath:
    """Make this message alone due, have the provider refuse it with the code, and look."""
    async with stack.sessions.begin() as session:
        now = utc_now()
        await session.execute(update(Sender).values(paused_at=None, pause_reason=None, pause_code=None))
        await session.execute(update(Template).values(status=TemplateStatus.APPROVED))
        going = {"status": CampaignStatus.SENDING, "paused_at": None, "pause_reason": None, "pause_code": None}
        await session.execute(update(Campaign).where(Campaign.id == campaign).values(**going))
        queued = Message.status == DeliveryStatus.QUEUED
        await session.execute(update(Message).where(queued).values(not_before=now + timedelta(days=1)))
        await session.execute(update(Message).where(Message.id == message).values(not_before=now))
        sender = await session.scalar(select(Sender.id))
    await stack.parts.valkey.flushall()
    stack.sandbox.faults.replace({"error": Fault(code=code)})

    await sending.send_messages(stack.ctx, str(sender))

    async with stack.sessions() as session:
        row = await session.get_one(Message, message)
        owner = await session.get_one(Campaign, campaign)
        number = (await session.scalars(select(Sender))).one()
        facts = select(MessageEvent.error_code).where(
            MessageEvent.message_id == message, MessageEvent.kind == EventKind.REJECTED
        )
        return Aftermath(
            row.status,
            row.error_code,
            row.attempt,
            row.not_before > utc_now(),
            set(await session.scalars(facts)),
            owner.status,
            owner.pause_code,
            number.pause_code,
        )


def check(code: int, action: Action, found: Aftermath) -> None:
    """The consequences the table's action promises, and no others."""
    known = explain(code).code  # of a family of codes, such as the permissions 200 to 299, the first
    if action in FINAL:
        assert (found.status, found.error_code, found.attempt) == (DeliveryStatus.FAILED, known, 1)
    else:
        counts = 1 if explain(code).retryable else 0  # a refusal that stops number or template is nobody's attempt
        assert (found.status, found.error_code, found.attempt) == (DeliveryStatus.QUEUED, known, counts)
    assert found.refusals == {known}  # once, or once more by a batch that was on its way when the number was stopped
    assert found.is_later == explain(code).retryable
    stops_template = action is Action.STOP_TEMPLATE
    assert found.campaign is (CampaignStatus.PAUSED if stops_template else CampaignStatus.SENDING)
    assert str(found.campaign_code).startswith("template:") == stops_template
    assert found.sender_code == (f"provider:{known}" if action in PAUSES_NUMBER else None)


@pytest.mark.parametrize("action", Action)
async def test_a_refusal_has_the_consequences_its_row_of_the_table_promises(
    stack: Stack, action: Action, subtests: pytest.Subtests
) -> None:
    codes = [code for code, its in CODES.items() if its is action]
    campaign = UUID((await a_running_campaign(stack, [f"+4917098765{at:02d}" for at in range(len(codes))]))["id"])
    async with stack.sessions() as session:
        rows = list(await session.scalars(select(Message.id).order_by(Message.id)))

    for code, message in zip(codes, rows, strict=True):
        with subtests.test(code=code):
            check(code, action, await refused(stack, campaign, message, code))

    assert accepted_by_provider(stack).total() == 0
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Message)) == len(codes)
