"""What becomes of a batch: each answer of the provider judged, to be written down together."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from core.clock import utc_now
from core.services import breakers, messages
from core.services.breakers import Refusal
from core.services.folding import Report
from core.services.messages import Claimed, Retry
from core.statuses import DeliveryStatus, EventKind, SkipReason
from core.whatsapp.client import Outcome
from core.whatsapp.errors import ERRORS
from worker.rendering import Unusable

log = structlog.get_logger()

RETRY_FIRST_S = 2.0
RETRY_MOST_S = 300.0
LIMITERS = frozenset(code for code, row in ERRORS.items() if row.limiter)


@dataclass
class Result:
    """What a batch comes to, written down in one transaction."""

    reports: list[Report] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    skipped: list[tuple[UUID, SkipReason]] = field(default_factory=list)
    unknown: dict[UUID, str] = field(default_factory=dict)  # and what happened instead of an answer
    released: list[UUID] = field(default_factory=list)
    deferred: dict[UUID, float] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def unsent(self) -> list[UUID]:
        """Messages the provider did not take: their people do not count against the allowance."""
        rejected = [report.message_id for report in self.reports if report.kind is EventKind.REJECTED]
        retried = [retry.message_id for retry in self.retries]
        skipped = [message_id for message_id, _ in self.skipped]
        return [*retried, *skipped, *self.released, *self.deferred, *(each for each in rejected if each)]

    @property
    def is_plain(self) -> bool:
        """Nothing but answers."""
        others = (self.retries, self.skipped, self.unknown, self.released, self.deferred, self.refusals)
        return not any(others)


def note(result: Result, claimed: Claimed, outcome: Outcome | None, now: datetime) -> None:
    if outcome is None:
        result.released.append(claimed.id)
    elif outcome.status in (DeliveryStatus.ACCEPTED, DeliveryStatus.HELD):
        kind = EventKind.HELD if outcome.status is DeliveryStatus.HELD else EventKind.ACCEPTED
        result.reports.append(Report(kind, now, message_id=claimed.id, wamid=outcome.wamid))
    elif outcome.status is DeliveryStatus.UNKNOWN:
        result.unknown[claimed.id] = outcome.detail or "no answer came back"
        log.warning("message.unknown", message_id=str(claimed.id), detail=outcome.detail)
    elif outcome.error is not None and outcome.error.action in breakers.STOPPING and claimed.campaign_id is not None:
        result.refusals.append(Refusal(outcome.error, claimed.template_version_id))
        result.retries.append(Retry(claimed.id, now, outcome.error.code, outcome.error.meaning, counts=False))
    elif outcome.status is DeliveryStatus.QUEUED and _may_retry(claimed, outcome):
        code = outcome.error.code if outcome.error else 0
        meaning = outcome.error.meaning if outcome.error else (outcome.detail or "")
        again_at = now + _pause(claimed.attempt, outcome)
        result.retries.append(Retry(claimed.id, again_at, code, meaning, counts=_counts(outcome)))
    else:
        final = outcome.error
        result.reports.append(
            Report(
                EventKind.REJECTED,
                now,
                message_id=claimed.id,
                error_code=final.code if final else None,
                error=final.meaning if final else outcome.detail,
            )
        )


def _counts(outcome: Outcome) -> bool:
    """A limiter's refusal says nothing about the message, nor does a provider that cannot be reached."""
    return outcome.reached and not (outcome.error is not None and outcome.error.limiter)


def _may_retry(claimed: Claimed, outcome: Outcome) -> bool:
    return claimed.attempt < messages.MAX_ATTEMPTS or not _counts(outcome)


def _pause(attempt: int, outcome: Outcome) -> timedelta:
    """Doubling, at least what the provider asked for, with jitter so that a thousand do not come back together."""
    least = outcome.error.wait_s if outcome.error else 0.0
    seconds = max(outcome.retry_after_s or 0.0, least, min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (attempt - 1)))
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreading, not secrecy


def note_unusable(result: Result, unusable: Unusable) -> None:
    """A campaign's message waits for the template's approval, with the campaign; others fail."""
    claimed = unusable.claimed
    if claimed.campaign_id is None:
        report = Report(EventKind.REJECTED, utc_now(), message_id=claimed.id, error=unusable.meaning)
        result.reports.append(report)
    else:
        result.refusals.append(Refusal(unusable.error, claimed.template_version_id))
        result.released.append(claimed.id)
