"""How many of a campaign's messages are where: counted in one pass, and not again before that is worth its cost."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.models import Campaign, Message
from core.statuses import OPEN, CampaignStatus, DeliveryStatus

PACE_WINDOW_S = 10.0
_MESSAGES_PER_SECOND_OF_AGE = 100_000  # a million messages take about half a second to count
_SLOWER_WHEN_OVER = 6  # what is over changes by reports only
_REMEMBERED = 1000  # campaigns
_OVER = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED})


@dataclass(frozen=True)
class Failures:
    """Messages that failed for the same reason; without the provider's `code`, `said` is what we wrote down."""

    code: int | None
    said: str | None
    count: int


@dataclass(frozen=True)
class Standing:
    """A campaign's messages as they stood at `counted_at`."""

    counted_at: datetime
    balance: dict[str, int] = field(default_factory=dict)  # every status, and their sum as `audience`
    skipped: dict[str, int] = field(default_factory=dict)  # by reason
    failures: Sequence[Failures] = ()  # the most frequent reason first
    recent: int = 0  # permitted in the last PACE_WINDOW_S seconds
    last_due_at: datetime | None = None  # of those that have not left

    @property
    def left(self) -> int:
        """Messages that have not left."""
        return sum(self.balance.get(status, 0) for status in OPEN)


class Standings:
    """What was counted lately, for one process; the larger a campaign, the longer its counts are shown again.

    Ten thousand messages are counted once in 0.1 s at most, a million once in 10 s, and once a minute when their
    campaign is over: so that people who watch a large campaign do not slow it down.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, Standing] = OrderedDict()

    def forget(self, campaign_id: UUID) -> None:
        """Count anew next time: somebody has just changed something, and wants to see it."""
        self._known.pop(campaign_id, None)

    async def of(self, session: AsyncSession, those: Sequence[Campaign], *, now: datetime) -> dict[UUID, Standing]:
        stale = [campaign.id for campaign in those if not self._is_fresh(campaign, now)]
        for campaign_id, standing in (await count(session, stale, now=now) if stale else {}).items():
            self._known[campaign_id] = standing
            self._known.move_to_end(campaign_id)
        found = {campaign.id: self._known[campaign.id] for campaign in those}
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _is_fresh(self, campaign: Campaign, now: datetime) -> bool:
        known = self._known.get(campaign.id)
        if known is None:
            return False
        seconds = known.balance["audience"] / _MESSAGES_PER_SECOND_OF_AGE
        if campaign.status in _OVER:
            seconds *= _SLOWER_WHEN_OVER
        return timedelta(0) <= now - known.counted_at < timedelta(seconds=seconds)


async def count(session: AsyncSession, campaign_ids: Sequence[UUID], *, now: datetime) -> dict[UUID, Standing]:
    """How the campaigns stand, in one statement."""
    has_failed = Message.status == DeliveryStatus.FAILED
    code, said = (
        case((has_failed, Message.error_code)),
        case((has_failed & Message.error_code.is_(None), Message.error)),
    )
    recent = func.count(case((Message.permitted_at > now - timedelta(seconds=PACE_WINDOW_S), 1)))
    last_due_at = func.max(case((Message.phase.in_(OPEN), Message.not_before)))
    by = (Message.campaign_id, Message.status, Message.skip_reason, code, said)
    rows = await session.execute(
        select(*by, func.count(), recent, last_due_at).where(Message.campaign_id.in_(campaign_ids)).group_by(*by)
    )
    found: dict[UUID, list[_Group]] = {campaign_id: [] for campaign_id in campaign_ids}
    for campaign_id, *facts in rows:
        if campaign_id is not None:
            found[campaign_id].append(_Group(*facts))
    return {campaign_id: _standing(groups, now) for campaign_id, groups in found.items()}


@dataclass(frozen=True)
class _Group:
    """Messages that are alike in all that is counted."""

    status: str
    skip_reason: str | None
    code: int | None
    said: str | None
    messages: int
    recent: int
    last_due_at: datetime | None


def _standing(groups: Sequence[_Group], now: datetime) -> Standing:
    balance, skipped = Counter[str](), Counter[str]()
    for each in groups:
        balance[each.status] += each.messages
        if each.status == DeliveryStatus.SKIPPED:
            skipped[str(each.skip_reason)] += each.messages
    failures = [
        Failures(each.code, each.said, each.messages) for each in groups if each.status == DeliveryStatus.FAILED
    ]
    return Standing(
        counted_at=now,
        balance={"audience": balance.total()} | {str(word): balance[word] for word in DeliveryStatus},
        skipped=dict(sorted(skipped.items())),
        failures=sorted(failures, key=lambda each: -each.count),
        recent=sum(each.recent for each in groups),
        last_due_at=max((each.last_due_at for each in groups if each.last_due_at is not None), default=None),
    )
