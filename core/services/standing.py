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

PACE_WINDOW_S = 10
_MESSAGES_PER_SECOND_OF_AGE = 100_000  # a million messages take about half a second to count
_SLOWER_WHEN_OVER = 6  # what is over changes by reports only
_REMEMBERED = 1000  # campaigns
_OVER = frozenset({CampaignStatus.COMPLETED, CampaignStatus.CANCELLED})


@dataclass(frozen=True)
class Standing:
    """A campaign's messages as they stood at `counted_at`."""

    counted_at: datetime
    balance: dict[str, int] = field(default_factory=dict)  # every status, and their sum as `audience`
    skipped: dict[str, int] = field(default_factory=dict)  # by reason
    failures: dict[int, int] = field(default_factory=dict)  # by the provider's code, most first; -1: without one
    recent: int = 0  # permitted in the last PACE_WINDOW_S seconds

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
    code = case((Message.status == DeliveryStatus.FAILED, func.coalesce(Message.error_code, -1)))
    recent = func.count(case((Message.permitted_at > now - timedelta(seconds=PACE_WINDOW_S), 1)))
    by = (Message.campaign_id, Message.status, Message.skip_reason, code)
    rows = await session.execute(
        select(*by, func.count(), recent).where(Message.campaign_id.in_(campaign_ids)).group_by(*by)
    )
    counted = {campaign_id: _Counted() for campaign_id in campaign_ids}
    for campaign_id, status, reason, failure, messages, lately in rows:
        if campaign_id is not None:
            counted[campaign_id].add(status, reason, failure, messages, lately)
    return {campaign_id: each.standing(now) for campaign_id, each in counted.items()}


@dataclass
class _Counted:
    balance: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: Counter[int] = field(default_factory=Counter)
    recent: int = 0

    def add(self, status: str, reason: str | None, failure: int | None, messages: int, recent: int) -> None:
        self.balance[status] += messages
        self.recent += recent
        if status == DeliveryStatus.SKIPPED:
            self.skipped[str(reason)] += messages
        if failure is not None:
            self.failures[failure] += messages

    def standing(self, now: datetime) -> Standing:
        balance = {"audience": self.balance.total()} | {str(word): self.balance[word] for word in DeliveryStatus}
        skipped, failures = dict(sorted(self.skipped.items())), dict(self.failures.most_common())
        return Standing(now, balance, skipped, failures, self.recent)
