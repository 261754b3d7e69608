"""Messages: claim a batch, record what became of it, fold the provider's reports; each a statement for the batch.

A claim is committed before any request, and so is the permit that every request needs. A crash leaves rows in
`sending`; when their lease is over, those without a permit surely were not sent and are queued again, the others
become `unknown`, which a status webhook settles, or a person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, Boolean, DateTime, Text, Uuid

from core.db import Driver
from core.models import Message
from core.services.folding import Report, array, event_key, fold
from core.statuses import (
    CANARY_PRIORITY,
    DeliveryStatus,
    EventKind,
    MessageKind,
    SkipReason,
    TemplateStatus,
)

LEASE = timedelta(seconds=20)
HEARTBEAT_S = 5.0  # a batch that lives longer renews its lease this often
MAX_ATTEMPTS = 5
WORKER_DIED = "the worker stopped while sending"
GIVEN_UP = "No answer ever came, and somebody gave up on them"


class Claimed(msgspec.Struct, frozen=True):
    """A message this worker alone may send now; the columns of _CLAIM, in their order."""

    id: UUID
    kind: MessageKind
    contact_id: UUID
    purpose: str
    campaign_id: UUID | None
    template_version_id: UUID | None
    template_status: TemplateStatus | None
    parameters: dict[str, Any]
    attempt: int


# Rows wait for their instant and for the end of the quiet hours in the recipient's own zone. MATERIALIZED matters:
# a plain IN (SELECT … LIMIT) may be run again for every row, and then it claims more than its limit.
_CLAIM = f"""
    WITH due AS MATERIALIZED (
        SELECT m.id FROM messages m LEFT JOIN campaigns c ON c.id = m.campaign_id
         WHERE m.sender_id = $1 AND m.phase = 'queued' AND m.not_before <= now()
           AND m.campaign_id %s
           AND (c.id IS NULL OR (c.status = 'sending' AND NOT in_quiet_hours(m.time_zone, c.quiet_from, c.quiet_until)))
           AND EXISTS (SELECT FROM senders s WHERE s.id = $1 AND s.paused_at IS NULL)
         ORDER BY m.priority, m.not_before, m.id LIMIT $2
           FOR UPDATE OF m SKIP LOCKED),
    claimed AS (
        UPDATE messages m SET status = 'sending', attempt = m.attempt + 1,
                              permit_seq = NULL, permit_head_seq = NULL, permitted_at = NULL,
                              lease_until = now() + make_interval(secs => {LEASE.total_seconds()})
          FROM due WHERE m.id = due.id
     RETURNING m.id, m.kind, m.contact_id, m.purpose, m.campaign_id, m.template_version_id, m.parameters, m.attempt)
    SELECT c.id, c.kind, c.contact_id, c.purpose, c.campaign_id, c.template_version_id, t.status,
           coalesce(c.parameters, '{{}}'), c.attempt
      FROM claimed c LEFT JOIN template_versions v ON v.id = c.template_version_id
      LEFT JOIN templates t ON t.id = v.template_id
    """  # noqa: S608 - built from constants
# While the rest of a campaign waits for a verdict on its first few, only those may be claimed.
_FIRST_FEW = f"coalesce((SELECT {CANARY_PRIORITY} FROM campaigns r WHERE r.id = $3 AND r.rest_waits), 99)"  # noqa: S608
# Replies in an open conversation and people who count already take nothing from the portfolio's allowance.
_FREE = """ AND (m.kind = 'reply' OR EXISTS (SELECT FROM people_reached p WHERE p.contact_id = m.contact_id
                                                  AND p.reached_at > now() - interval '24 hours'))"""
_OF_CAMPAIGN, _OF_NONE = f"= $3 AND m.priority <= {_FIRST_FEW}", "IS NULL"
_CLAIMS = {
    (of_campaign, only_free): _CLAIM % ((_OF_CAMPAIGN if of_campaign else _OF_NONE) + (_FREE if only_free else ""))
    for of_campaign in (True, False)
    for only_free in (True, False)
}


async def claim(
    connection: Driver, sender_id: UUID, campaign_id: UUID | None, *, limit: int, only_free: bool = False
) -> list[Claimed]:
    """Up to `limit` due messages of one campaign (or of none: tests, replies), now in `sending` under a lease.

    `only_free` takes only those that use nothing of the portfolio's allowance. Committed before the caller does
    anything else with them: `connection` is in no transaction.
    """
    statement = _CLAIMS[campaign_id is not None, only_free]
    named = [] if campaign_id is None else [campaign_id]
    rows = await connection.fetch(statement, sender_id, limit, *named)
    return [
        Claimed(
            id=row[0],
            kind=MessageKind(row[1]),
            contact_id=row[2],
            purpose=row[3],
            campaign_id=row[4],
            template_version_id=row[5],
            template_status=TemplateStatus(row[6]) if row[6] else None,
            parameters=row[7],
            attempt=row[8],
        )
        for row in rows
    ]


async def release(session: AsyncSession, message_ids: Sequence[UUID]) -> None:
    """Put claimed messages back that the caller knows were not sent; the attempt does not count."""
    await _release(session, message_ids)


async def release_unpermitted(session: AsyncSession, message_ids: Sequence[UUID]) -> None:
    """Put claimed messages back that have no permit: a request starts only after its permit was committed."""
    await _release(session, message_ids, Message.permitted_at.is_(None))


async def _release(session: AsyncSession, message_ids: Sequence[UUID], *more: ColumnElement[bool]) -> None:
    if message_ids:
        mine = (Message.id.in_(message_ids), Message.status == DeliveryStatus.SENDING, *more)
        values = {"status": DeliveryStatus.QUEUED, "lease_until": None, "attempt": Message.attempt - 1}
        await session.execute(update(Message).where(*mine).values(values))


async def defer(session: AsyncSession, waits: Mapping[UUID, float]) -> None:
    """Put claimed messages back that may not start for so many seconds; the attempt does not count."""
    for message_id, seconds in waits.items():
        mine = (Message.id == message_id, Message.status == DeliveryStatus.SENDING)
        values = {
            "status": DeliveryStatus.QUEUED,
            "lease_until": None,
            "attempt": Message.attempt - 1,
            "not_before": func.now() + timedelta(seconds=seconds),
        }
        await session.execute(update(Message).where(*mine).values(values))


async def renew_leases(session: AsyncSession, message_ids: Sequence[UUID]) -> None:
    """The worker is alive and still has these messages in its hands."""
    mine = (Message.id.in_(message_ids), Message.status == DeliveryStatus.SENDING)
    await session.execute(update(Message).where(*mine).values(lease_until=func.now() + LEASE))


@dataclass(frozen=True)
class Permitted:
    """The gate's decision, written down before the request starts."""

    message_id: UUID
    attempt: int  # of the claim
    grant_seq: int | None
    head_seq: int
    decided_at: datetime


_PERMIT = """
    UPDATE messages m SET permit_seq = p.grant_seq, permit_head_seq = p.head_seq, permitted_at = p.decided_at
      FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[], $5::timestamptz[])
        AS p(id, attempt, grant_seq, head_seq, decided_at)
     WHERE m.id = p.id AND m.status = 'sending' AND m.attempt = p.attempt
 RETURNING m.id
    """


async def write_permits(connection: Driver, permits: Sequence[Permitted]) -> set[UUID]:
    """Each message's row names the consent it relies on; committed before the requests.

    Returns the messages that may be sent: a worker that stood still past its lease has lost its claim, and then
    another may have it. Like the claim, outside any transaction: the statement commits by itself.
    """
    rows = await connection.fetch(
        _PERMIT,
        [permit.message_id for permit in permits],
        [permit.attempt for permit in permits],
        [permit.grant_seq for permit in permits],
        [permit.head_seq for permit in permits],
        [permit.decided_at for permit in permits],
    )
    return {row[0] for row in rows}


_SKIP = text(
    """
    WITH refused AS (SELECT * FROM unnest(:ids, :reasons, :keys) AS r(id, reason, event_key)),
    moved AS (
        UPDATE messages m SET status = 'skipped', skip_reason = r.reason, lease_until = NULL
          FROM refused r WHERE m.id = r.id AND m.status = 'sending'
     RETURNING m.id, m.queued_on, r.reason, r.event_key)
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, reason)
    SELECT id, queued_on, 'suppressed', :now, event_key, reason FROM moved
        ON CONFLICT (message_id, event_key) DO NOTHING
    """
).bindparams(array("ids", Uuid()), array("reasons", Text()), array("keys", Uuid()))


async def skip(session: AsyncSession, refusals: Sequence[tuple[UUID, SkipReason]], *, now: datetime) -> None:
    """Claimed messages the gate refused, with the reason kept."""
    if refusals:
        ids = [message_id for message_id, _ in refusals]
        keys = [event_key(str(message_id), EventKind.SUPPRESSED, now) for message_id in ids]
        await session.execute(
            _SKIP, {"ids": ids, "reasons": [reason.value for _, reason in refusals], "keys": keys, "now": now}
        )


_CANCEL = text(
    """
    WITH moved AS (
        UPDATE messages SET status = 'cancelled' WHERE campaign_id = :campaign AND phase = 'queued'
     RETURNING id, queued_on)
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, reason)
    SELECT id, queued_on, 'suppressed', :now, gen_random_uuid(), 'cancelled' FROM moved
    """
)


async def cancel_queued(session: AsyncSession, campaign_id: UUID, *, now: datetime) -> None:
    """Take back a campaign's messages that have not left; each keeps the fact."""
    await session.execute(_CANCEL, {"campaign": campaign_id, "now": now})


@dataclass(frozen=True)
class Retry:
    """A message that goes back into the queue: it surely was not sent, or the provider asked to try later."""

    message_id: UUID
    not_before: datetime
    code: int
    detail: str
    counts: bool = True  # a refusal that stopped the whole number or template is no attempt of this message


_RETRY = text(
    """
    WITH again AS (SELECT * FROM unnest(:ids, :instants, :codes, :details, :counts, :keys)
                       AS r(id, not_before, code, detail, counts, event_key)),
    moved AS (
        UPDATE messages m SET status = 'queued', not_before = a.not_before, lease_until = NULL,
                              error_code = a.code, error = a.detail,
                              attempt = m.attempt - CASE WHEN a.counts THEN 0 ELSE 1 END
          FROM again a WHERE m.id = a.id AND m.status = 'sending'
     RETURNING m.id, m.queued_on, m.attempt, a.code, a.event_key)
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, error_code, attempt, reason)
    SELECT id, queued_on, 'rejected', :now, event_key, code, attempt, 'retry' FROM moved
        ON CONFLICT (message_id, event_key) DO NOTHING
    """
).bindparams(
    array("ids", Uuid()),
    array("instants", DateTime(timezone=True)),
    array("codes", BigInteger()),
    array("details", Text()),
    array("counts", Boolean()),
    array("keys", Uuid()),
)


async def retry(session: AsyncSession, retries: Sequence[Retry], *, now: datetime) -> None:
    """Each attempt is a row in the message's history; what was refused is tried again after its pause."""
    if retries:
        await session.execute(
            _RETRY,
            {
                "ids": [each.message_id for each in retries],
                "instants": [each.not_before for each in retries],
                "codes": [each.code for each in retries],
                "details": [each.detail for each in retries],
                "counts": [each.counts for each in retries],
                "keys": [
                    event_key(str(each.message_id), EventKind.REJECTED, now, f"retry {each.code}") for each in retries
                ],
                "now": now,
            },
        )


_UNKNOWN = text(
    """
    UPDATE messages m SET status = 'unknown', lease_until = NULL, error = u.why
      FROM unnest(:ids, :whys) AS u(id, why) WHERE m.id = u.id AND m.status = 'sending'
    """
).bindparams(array("ids", Uuid()), array("whys", Text()))


async def mark_unknown(session: AsyncSession, whys: Mapping[UUID, str]) -> None:
    """Requests that left without an answer, and why: a status webhook settles them, or a person; never repeated."""
    if whys:
        await session.execute(_UNKNOWN, {"ids": list(whys), "whys": list(whys.values())})


async def fail_unknown(session: AsyncSession, campaign_id: UUID, *, before: datetime, dry_run: bool) -> int:
    """Unknown messages permitted before `before` become failed; a dry run only counts them."""
    theirs = (
        Message.campaign_id == campaign_id,
        Message.phase == DeliveryStatus.UNKNOWN,
        func.coalesce(Message.permitted_at, Message.queued_at) < before,
    )
    if dry_run:
        return await session.scalar(select(func.count()).select_from(Message).where(*theirs)) or 0
    ids = list(await session.scalars(select(Message.id).where(*theirs)))
    now = datetime.now(UTC)
    reports = [Report(EventKind.REJECTED, now, message_id=each, error=GIVEN_UP) for each in ids]
    return len(reports) - len(await fold(session, reports))


@dataclass(frozen=True)
class Expired:
    """What became of messages whose worker died."""

    unknown: int
    queued: int


async def expire_leases(session: AsyncSession) -> Expired:
    """Take messages from workers that died: those with a permit become unknown, the others are queued again.

    The attempt of those queued again stays counted: it tells their next claim from the old one, should the worker
    only have stood still.
    """
    over = (Message.phase == DeliveryStatus.SENDING, Message.lease_until < func.now())
    lost = {"status": DeliveryStatus.UNKNOWN, "lease_until": None, "error": WORKER_DIED}
    again = {"status": DeliveryStatus.QUEUED, "lease_until": None}
    unknown = await session.scalars(
        update(Message).where(*over, Message.permitted_at.is_not(None)).values(lost).returning(Message.id)
    )
    queued = await session.scalars(
        update(Message).where(*over, Message.permitted_at.is_(None)).values(again).returning(Message.id)
    )
    return Expired(len(unknown.all()), len(queued.all()))
