"""One webhook of another system: read, applied through the services the API's own calls use, and written down.

A delivery takes effect once, by its key. What does not take effect keeps the body, so that it can be tried again when
the mapping was mended. Consent is never granted here: it needs evidence a webhook does not carry.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent.stored import among
from core.errors import RuleViolation
from core.keys import Keyring
from core.models import InboundDelivery, InboundSource
from core.services import attributes, audiences, conversions, events, imports_erased, sources_mapping, upserts
from core.services.conversions import Sale
from core.services.erasure_lock import while_nobody_is_erased
from core.services.events import Happened
from core.services.sources import Wanted
from core.services.sources_mapping import Item, Person, Reading
from core.settings import Settings
from core.statuses import Membership, TakenStatus
from core.traces import Traces

MAX_KEY = 200
MOST_REASONS = 3  # of a delivery with many rejected items that its own reason repeats
REJECTED, ERASED, TAKEN = "rejected", "erased", "taken"
ERASED_BODY = "it named a person who was erased, so nothing of it is kept"


@dataclass
class ItemResult:
    """What became of one item; `values` are what was read, none when it could not be."""

    index: int
    verdict: str
    reason: str | None = None
    values: dict[str, Any] | None = None
    contact_id: UUID | None = None


@dataclass
class Result:
    """What became of a body; `reason` is null when everything took effect."""

    status: TakenStatus
    reason: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    items: list[ItemResult] = field(default_factory=list)

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [{"index": each.index, "reason": each.reason} for each in self.items if each.verdict == REJECTED]


@dataclass(frozen=True)
class Means:
    """What applying needs besides the transaction."""

    keyring: Keyring
    settings: Settings
    now: datetime


@dataclass(frozen=True)
class Target:
    """How a source's items are read and whom they put where; a stored source's, or one that is only tried."""

    reading: Reading
    region: str | None
    audience_id: UUID | None
    membership: Membership | None


def target_of(source: InboundSource | Wanted) -> Target:
    """Raises RuleViolation for a mapping that cannot be read with."""
    reading = sources_mapping.compiled(source.makes, source.mapping, source.items)
    return Target(reading, source.region, source.audience_id, source.membership)


def key_of(given: str | None, body: bytes) -> str:
    """By what a delivery is known again: the sender's id, or the body's SHA-256."""
    given = (given or "").strip()
    if given and len(given) <= MAX_KEY and given.isprintable():
        return given
    return "sha256:" + hashlib.sha256(given.encode() if given else body).hexdigest()


def target_with(source: InboundSource, mapping: Mapping[str, str], items: str | None) -> Target:
    """The source's target with another mapping; raises RuleViolation for one that cannot be read with."""
    return replace(target_of(source), reading=sources_mapping.compiled(source.makes, mapping, items))


async def take(session: AsyncSession, source: InboundSource, key: str, body: bytes, means: Means) -> Result | None:
    """Apply a genuine body and write down what became of it; None when it took effect before.

    One that failed before is tried again when its sender repeats it. Raises Conflict when somebody else makes one of
    its people at this moment: the caller tries again in a new transaction.
    """
    await while_nobody_is_erased(session)
    first = {"source_id": source.id, "key": key, "status": TakenStatus.FAILED, "counts": {}, "rejected": []}
    put = insert(InboundDelivery).values(**first, tried_at=means.now).on_conflict_do_nothing()
    made = await session.scalar(put.returning(InboundDelivery.id))  # waits for another one with this key
    known = select(InboundDelivery).where(InboundDelivery.source_id == source.id, InboundDelivery.key == key)
    row = (await session.scalars(known.with_for_update())).one()
    if made is None and row.status is TakenStatus.APPLIED:
        return None
    return await _settle(session, source, row, body, means, again=made is None)


async def replay(session: AsyncSession, source: InboundSource, delivery_id: UUID, means: Means) -> Result:
    """Try a kept body again; raises RuleViolation when none is kept any more."""
    result = await replay_if_kept(session, source, delivery_id, means)
    if result is None:
        raise RuleViolation("nothing is kept of this delivery: it took effect, or its body was deleted")
    return result


async def replay_if_kept(
    session: AsyncSession, source: InboundSource, delivery_id: UUID, means: Means
) -> Result | None:
    """Try a kept body again; None when it is gone."""
    await while_nobody_is_erased(session)
    row = await session.get(InboundDelivery, delivery_id, with_for_update=True, populate_existing=True)
    if row is None or row.body is None:
        return None
    return await _settle(session, source, row, row.body, means, again=True)


async def _settle(
    session: AsyncSession, source: InboundSource, row: InboundDelivery, body: bytes, means: Means, *, again: bool
) -> Result:
    """Apply the body, or of one that took effect partly the rest of it, and write that down."""
    rest = {each["index"] for each in row.rejected} if row.status is TakenStatus.PARTLY else None
    result = await apply(session, target_of(source), body, means, only=rest)
    if rest is not None:  # what took effect before stays counted
        before = Counter({name: count for name, count in row.counts.items() if name != REJECTED})
        result.counts = dict(before + Counter(result.counts))
        if result.status is TakenStatus.FAILED:
            result.status = TakenStatus.PARTLY
    erased = any(each.verdict == ERASED for each in result.items)
    row.status, row.reason, row.counts, row.rejected = result.status, result.reason, result.counts, result.rejected
    if row.status is TakenStatus.PARTLY and rest is not None and not result.items:  # it could not be read this time
        row.rejected = [{"index": index, "reason": result.reason} for index in sorted(rest)]
    row.body = None if result.status is TakenStatus.APPLIED or erased else body
    row.tried_at = means.now
    if again:
        row.tries += 1
    await session.flush()
    return result


async def attempt(session: AsyncSession, target: Target, body: bytes, means: Means) -> Result:
    """What a body would do, without doing it: applied in a savepoint that is taken back."""
    await while_nobody_is_erased(session)
    savepoint = await session.begin_nested()
    result = await apply(session, target, body, means)
    await savepoint.rollback()
    for item in result.items:
        if item.verdict == upserts.Verdict.CREATED:
            item.contact_id = None
    return result


async def apply(
    session: AsyncSession, target: Target, body: bytes, means: Means, *, only: set[int] | None = None
) -> Result:
    """Read and apply the items, or those whose index is in `only`; a rejected item stops no other."""
    results: list[ItemResult] = []
    good: list[tuple[ItemResult, Item]] = []
    region = target.region or means.settings.country
    try:
        items = sources_mapping.items_of(sources_mapping.decoded(body), target.reading.items)
    except RuleViolation as wrong:
        return Result(TakenStatus.FAILED, wrong.message)
    for index, raw in enumerate(items):
        if only is not None and index not in only:
            continue
        result = ItemResult(index, TAKEN)
        results.append(result)
        try:
            item = sources_mapping.read(target.reading, raw, region=region)
        except RuleViolation as wrong:
            result.verdict, result.reason = REJECTED, wrong.message
            continue
        result.values = sources_mapping.shown(item)
        good.append((result, item))
    try:
        async with session.begin_nested():
            good = await _without_erased(session, good, region, means.keyring)
            people = [(result, item) for result, item in good if isinstance(item, Person)]
            sales = [(result, item) for result, item in good if isinstance(item, Sale)]
            happened = [(result, item) for result, item in good if isinstance(item, Happened)]
            extra = await _sales(session, sales, region, means) or await _events(session, happened, region, means)
            await _people(session, people, region, target, means.keyring)
    except DataError:
        return Result(TakenStatus.FAILED, "a number or a time in it is out of range")
    return _summed(results, extra)


async def _without_erased(
    session: AsyncSession, good: Sequence[tuple[ItemResult, Item]], region: str, keyring: Keyring
) -> list[tuple[ItemResult, Item]]:
    """Orders of erased people count without them; as contacts they do not come back, and what they did is not kept."""
    by = [None if isinstance(item, Sale) else _key(item, region) for _, item in good]
    keys = {key for key in by if key is not None}
    gone = await imports_erased.keys_gone(session, keys, keyring)
    kept: list[tuple[ItemResult, Item]] = []
    for (result, item), key in zip(good, by, strict=True):
        if key in gone:
            result.verdict, result.reason, result.values = ERASED, imports_erased.WHY, None
        else:
            kept.append((result, item))
    return kept


def _key(item: Person | Happened, region: str) -> str | None:
    return item.key if isinstance(item, Person) else events.match_key(item, region)


async def _people(
    session: AsyncSession, people: Sequence[tuple[ItemResult, Person]], region: str, target: Target, keyring: Keyring
) -> None:
    definitions = await attributes.definitions(session)
    given = [item.given for _, item in people]
    rows = await upserts.upsert(session, given, definitions, region=region, keyring=keyring)
    moves: dict[UUID, bool] = {}
    for (result, item), row in zip(people, rows, strict=True):
        result.verdict, result.reason, result.contact_id = row.verdict.value, row.reason, row.contact_id
        on = item.member if target.membership is Membership.MAPPED else target.membership is Membership.ADD
        if row.contact_id is not None and on is not None:
            moves[row.contact_id] = on
    if target.audience_id is not None:
        joining, leaving = ([each for each, on in moves.items() if on is way] for way in (True, False))
        await audiences.add_members(session, target.audience_id, joining, import_id=None)
        await audiences.remove_members(session, target.audience_id, leaving)


async def _sales(
    session: AsyncSession, sales: Sequence[tuple[ItemResult, Sale]], region: str, means: Means
) -> Mapping[str, int]:
    """Record the orders; returns the counts the service gives for all together."""
    right: list[Sale] = []
    for result, sale in sales:
        try:
            conversions.check(sale, "order", means.settings.currency, means.now)
        except RuleViolation as wrong:
            result.verdict, result.reason = REJECTED, wrong.message
        else:
            right.append(sale)
    if not right:
        return {}
    done = await conversions.record(session, right, currency=means.settings.currency, region=region, now=means.now)
    return {"recorded": done.recorded, "duplicates": done.duplicates, "unmatched": done.unmatched}


async def _events(
    session: AsyncSession, told: Sequence[tuple[ItemResult, Happened]], region: str, means: Means
) -> Mapping[str, int]:
    """Record what people did; returns the counts the service gives for all together."""
    right: list[Happened] = []
    for result, event in told:
        try:
            events.check(event, "event", means.now)
        except RuleViolation as wrong:
            result.verdict, result.reason = REJECTED, wrong.message
        else:
            right.append(event)
    if not right:
        return {}
    done = await events.record(session, right, region=region, now=means.now)
    return {"recorded": done.recorded, "duplicates": done.duplicates, "unmatched": done.unmatched}


def _summed(items: list[ItemResult], extra: Mapping[str, int]) -> Result:
    counts = Counter(each.verdict for each in items if each.verdict != TAKEN)
    counts.update({name: count for name, count in extra.items() if count})
    rejected = [each for each in items if each.verdict == REJECTED]
    if not rejected:
        return Result(TakenStatus.APPLIED, None, dict(counts), items)
    said = list(dict.fromkeys(f"item {each.index + 1}: {each.reason}" for each in rejected))
    more = f"; and {len(said) - MOST_REASONS} more" if len(said) > MOST_REASONS else ""
    reason = rejected[0].reason if len(items) == 1 else "; ".join(said[:MOST_REASONS]) + more
    status = TakenStatus.FAILED if len(rejected) == len(items) else TakenStatus.PARTLY
    return Result(status, reason, dict(counts), items)


async def forget_person(session: AsyncSession, traces: Traces) -> int:
    """Drop the kept bodies that name the person; returns how many."""
    kept = select(InboundDelivery.id, InboundDelivery.body).where(InboundDelivery.body.is_not(None))
    named = [row.id for row in await session.execute(kept) if row.body is not None and _names(traces, row.body)]
    for row in await session.scalars(select(InboundDelivery).where(among(InboundDelivery.id, named))):
        row.body, row.reason = None, ERASED_BODY
    await session.flush()
    return len(named)


def _names(traces: Traces, body: bytes) -> bool:
    """Letters may be written as escapes, so what can be read as JSON is looked at both ways."""
    if traces.within(body.decode("utf-8", "replace")):
        return True
    try:
        return traces.within(msgspec.json.encode(msgspec.json.decode(body)).decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
