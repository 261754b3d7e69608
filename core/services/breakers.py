"""Circuit breakers: what the provider's refusals stop, why, and what starts again by itself.

| The provider says | Stops | Starts again |
|---|---|---|
| the token is invalid | every number of the account | by itself, when a probe succeeds |
| the account is locked, unpaid or lacks a permission | every number of the account | one click, once it is mended |
| the number is not registered, flagged, gone | the number | one click |
| the template is paused, disabled or missing | campaigns that use it | by itself, on its approval; else one click |
| the template is charged as what its purpose forbids | campaigns that use it | by itself, when that is taken back |
| the template was edited | campaigns that use it | one click |
| the account is restricted or disabled, the number flagged | its numbers | by itself when told, else one click |
| (nothing) half of a campaign's last messages failed, or got no answer | the campaign | one click |

What is stopped keeps its messages queued: a refusal of this kind is nobody's delivery failure. The first three may be
said by webhook too, of messages accepted before; those have failed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.models import Campaign, CampaignVariant, Message, Sender, Template, TemplateVersion
from core.services.folding import Report
from core.services.messages import WORKER_DIED
from core.services.templates import misfit
from core.statuses import OPEN, CampaignStatus, DeliveryStatus, TemplateStatus
from core.whatsapp.errors import ERRORS, Action, ProviderError, explain

log = structlog.get_logger()

STOPPING = frozenset({Action.REFRESH_TOKEN, Action.PAUSE_ACCOUNT, Action.PAUSE_SENDER, Action.STOP_TEMPLATE})
TOKEN_CODES = frozenset(f"provider:{code}" for code, row in ERRORS.items() if row.action is Action.REFRESH_TOKEN)
FAILURES, NO_ANSWER = "failures", "no_answer"
_WHY = {
    FAILURES: "Half of the last messages failed.",
    NO_ANSWER: "Half of the last messages got no answer: they may have arrived.",
}
FAILURE_WINDOW = timedelta(minutes=2)
FAILURE_LEAST = 50  # outcomes in the window before a share means anything
FAILURE_SHARE = 0.5
RECEIPT_WITHIN = timedelta(seconds=10)
REPORTED_WITHIN = timedelta(hours=1)  # later than this a failure says nothing about now
# What these codes say about the template itself.
_TEMPLATE_STATUS = {132015: TemplateStatus.PAUSED, 132016: TemplateStatus.DISABLED}


@dataclass(frozen=True)
class Refusal:
    """One refusal that stops something."""

    error: ProviderError
    template_version_id: UUID | None


async def trip(session: AsyncSession, sender_id: UUID, refusals: Iterable[Refusal], *, now: datetime) -> None:
    """Stop what the refusals concern, each thing once."""
    for refusal in set(refusals):
        error, action = refusal.error, refusal.error.action
        if action is Action.STOP_TEMPLATE:
            if refusal.template_version_id is not None:
                template = await _template_of(session, refusal.template_version_id)
                template.status = _TEMPLATE_STATUS.get(error.code, template.status)
                await stop_template(session, template, reason=_sentence(error), now=now)
        elif action in STOPPING:
            await _stop_senders(session, sender_id, error, whole_account=action is not Action.PAUSE_SENDER, now=now)


def stops_number(code: int | None) -> bool:
    """Whether a failure with this code concerns the number or the whole account."""
    return code is not None and explain(code).action in (Action.PAUSE_SENDER, Action.PAUSE_ACCOUNT)


async def trip_reported(session: AsyncSession, reports: Sequence[Report], *, now: datetime) -> None:
    """Stop the numbers that failures reported by webhook concern, as a refusal would have.

    Only failures of what was sent lately, and since the number was last let go on, say anything about it now.
    """
    since = now - REPORTED_WITHIN
    ours = or_(
        Message.id.in_([report.message_id for report in reports]),
        Message.wamid.in_([report.wamid for report in reports]),
    )
    fresh = and_(Message.permitted_at > since, func.coalesce(Message.permitted_at > Sender.resumed_at, true()))
    rows = await session.execute(
        select(Message.sender_id, Message.error_code)
        .join(Sender, Sender.id == Message.sender_id)
        .where(ours, fresh, Message.phase == DeliveryStatus.FAILED, Sender.paused_at.is_(None))
        .distinct()
    )
    for sender_id, code in rows.all():
        if code is not None and stops_number(code):
            await trip(session, sender_id, [Refusal(explain(code), None)], now=now)


def _sentence(error: ProviderError) -> str:
    return f"{error.meaning} ({error.code}). {error.next_step}"


async def _stop_senders(
    session: AsyncSession, sender_id: UUID, error: ProviderError, *, whole_account: bool, now: datetime
) -> None:
    account = select(Sender.waba_id).where(Sender.id == sender_id).scalar_subquery()
    whose = Sender.waba_id == account if whole_account else Sender.id == sender_id
    going = select(Sender).where(whose, Sender.paused_at.is_(None)).order_by(Sender.id).with_for_update()
    for sender in await session.scalars(going):
        sender.paused_at, sender.pause_reason = now, _sentence(error)
        sender.pause_code = f"provider:{error.code}"
        log.warning("sender.stopped", sender_id=str(sender.id), code=error.code)


async def _template_of(session: AsyncSession, version_id: UUID) -> Template:
    joined = select(Template).join(TemplateVersion, TemplateVersion.template_id == Template.id)
    return (await session.scalars(joined.where(TemplateVersion.id == version_id).with_for_update(of=Template))).one()


def _using(template_id: UUID) -> Select[UUID]:
    versions = select(TemplateVersion.id).where(TemplateVersion.template_id == template_id)
    return select(CampaignVariant.campaign_id).where(CampaignVariant.template_version_id.in_(versions))


def has_open_rows() -> ColumnElement[bool]:
    """Whether a campaign has something left to send; one without is completed, and nothing stops it.

    Asked as the first open row in the index's order: as a mere EXISTS, every row may be read to find none.
    """
    first = select(Message.id).where(Message.campaign_id == Campaign.id, Message.phase.in_(OPEN))
    first = first.order_by(Message.phase, Message.id).limit(1)
    return first.correlate(Campaign).scalar_subquery().is_not(None)


async def stop_template(
    session: AsyncSession, template: Template, *, reason: str, now: datetime, code: str | None = None
) -> int:
    """Pause the campaigns that send this template now; returns how many.

    They go on by themselves on its approval, unless another `code` says why they stand.
    """
    stopped = 0
    going = (Campaign.id.in_(_using(template.id)), Campaign.status == CampaignStatus.SENDING, has_open_rows())
    for campaign in await session.scalars(select(Campaign).where(*going).order_by(Campaign.id).with_for_update()):
        campaign.status, campaign.paused_at = CampaignStatus.PAUSED, now
        campaign.pause_reason, campaign.pause_code = reason, code or f"template:{template.id}"
        log.warning("campaign.stopped", campaign_id=str(campaign.id), template_id=str(template.id))
        stopped += 1
    return stopped


async def follow_template(session: AsyncSession, template: Template, *, now: datetime) -> tuple[int, int]:
    """The provider changed a template: stop its campaigns, or let those it stopped go on; returns how many of each."""
    reason = None
    if template.status is not TemplateStatus.APPROVED:
        reason = f"the template {template.name} is {template.status}"
    elif misfit(template):
        reason = (
            f"the provider charges the template {template.name} as {template.category}, which its purpose"
            f" ({template.purpose}) does not allow: use another template, or have the category reviewed"
        )
    if reason is not None:
        return await stop_template(session, template, reason=reason, now=now), 0
    resumed = 0
    stopped = (Campaign.pause_code == f"template:{template.id}", Campaign.status == CampaignStatus.PAUSED)
    for campaign in await session.scalars(select(Campaign).where(*stopped).order_by(Campaign.id).with_for_update()):
        resume_campaign(session, campaign, now=now)
        log.info("campaign.resumed", campaign_id=str(campaign.id), template_id=str(template.id))
        resumed += 1
    return 0, resumed


def resume_campaign(session: AsyncSession, campaign: Campaign, *, now: datetime) -> None:
    """Take the pause away and ring for what is left."""
    campaign.paused_at = campaign.pause_reason = campaign.pause_code = None
    campaign.resumed_at = now
    if campaign.expanded_at is None:
        campaign.status = CampaignStatus.EXPANDING
        queue.ring_after_commit(session, queue.EXPAND_CAMPAIGN, campaign.id)
    else:
        campaign.status = CampaignStatus.SENDING
        queue.ring_after_commit(session, queue.SEND_MESSAGES, campaign.sender_id)


async def stop_failing(session: AsyncSession, *, now: datetime) -> int:
    """Pause campaigns half of whose last messages failed or got no answer; returns how many.

    What was sent before a campaign was let go on does not count, nor does one that has nothing left to send.
    """
    failed, silent, arrived = _outcomes(now)
    going = (Campaign.status == CampaignStatus.SENDING, has_open_rows())
    # Both have a place of their own in the index; only a campaign with many of them has all its outcomes counted.
    bad = [
        select(func.count()).where(Message.campaign_id == Campaign.id, each).correlate(Campaign).scalar_subquery()
        for each in (failed, silent)
    ]
    suspected = list(
        await session.scalars(select(Campaign.id).where(*going, bad[0] + bad[1] >= FAILURE_SHARE * FAILURE_LEAST))
    )
    if not suspected:
        return 0
    failures, silences = func.count(case((failed, 1))), func.count(case((silent, 1)))
    all_outcomes = func.count()
    counts = await session.execute(
        select(Message.campaign_id, failures, silences)
        .join(Campaign, Campaign.id == Message.campaign_id)
        .where(Message.campaign_id.in_(suspected), or_(failed, silent, arrived))
        .group_by(Message.campaign_id)
        .having(all_outcomes >= FAILURE_LEAST, failures + silences >= FAILURE_SHARE * all_outcomes)
    )
    codes = {campaign_id: FAILURES if fails >= silences else NO_ANSWER for campaign_id, fails, silences in counts}
    still_going = (Campaign.id.in_(codes), Campaign.status == CampaignStatus.SENDING, has_open_rows())
    stopped = list(await session.scalars(select(Campaign).where(*still_going).order_by(Campaign.id).with_for_update()))
    for campaign in stopped:
        campaign.status, campaign.paused_at = CampaignStatus.PAUSED, now
        campaign.pause_code, campaign.pause_reason = codes[campaign.id], _WHY[codes[campaign.id]]
        log.warning("campaign.stopped", campaign_id=str(campaign.id), code=codes[campaign.id])
    return len(stopped)


def _outcomes(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """What failed, got no answer, and arrived of late, of what was sent since the campaign was last let go on.

    A failure without a code is ours, or a person gave up; a worker that died says nothing about the provider; and
    the receipt of a message without an answer gets some time to come.
    """
    since = now - FAILURE_WINDOW
    fresh = or_(Campaign.resumed_at.is_(None), Message.permitted_at > Campaign.resumed_at)
    failed = and_(
        fresh,
        Message.phase == DeliveryStatus.FAILED,
        Message.failed_at > since,
        Message.error_code.is_not(None),
    )
    silent = and_(
        fresh,
        Message.phase == DeliveryStatus.UNKNOWN,
        Message.permitted_at.between(since, now - RECEIPT_WITHIN),
        Message.error != WORKER_DIED,
    )
    return failed, silent, and_(fresh, or_(Message.delivered_at > since, Message.read_at > since))


async def waiting_for_token(session: AsyncSession) -> list[Sender]:
    """Numbers that stand still because the token was refused."""
    return list(await session.scalars(select(Sender).where(Sender.pause_code.in_(TOKEN_CODES)).order_by(Sender.id)))
