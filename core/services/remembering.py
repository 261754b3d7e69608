"""Writing down outside the database what its ledger was and whom it refuses, so that a restored one is noticed.

The journal and the mark are `core.witness`'s; what is written there are ids and keyed hashes.
"""

from collections.abc import AsyncIterator

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.consent import ledger
from core.consent.canonical import timestamp
from core.keys import Keyring
from core.models import ChainHead, Checkpoint, ConsentEvent, Erasure, LedgerFork, Suppression
from core.services.imports_erased import GONE
from core.witness import Line, Mark

PAGE = 5_000  # records at a time


async def remember(session: AsyncSession, keyring: Keyring, size: int) -> None:
    """Write outside who is refused since the last time, then the committed checkpoint of this size itself.

    In this order, so that the journal never lacks what the checkpoint covers.
    """
    before = keyring.witness.latest()
    since = before.size if before is not None else 0
    if since < size:
        signed = (await session.scalars(select(Checkpoint).where(Checkpoint.size == size))).one()
        async for lines in news(session, since, size):
            keyring.witness.append(lines)
        keyring.witness.advance(await mark_of(session, signed))


async def remember_meanwhile(session: AsyncSession, keyring: Keyring, fork: LedgerFork) -> None:
    """Write outside whom a ledger refuses that is not the right one: the right one may come back without them."""
    size = (await session.scalars(select(ChainHead.seq))).one()
    if size > fork.found_size:
        keyring.witness.has_more_now(True)
        await append_new(session, keyring, fork.found_size, size)


async def append_new(session: AsyncSession, keyring: Keyring, since: int, size: int) -> None:
    written = {line.key for line in keyring.witness.lines()}
    async for lines in news(session, since, size):
        keyring.witness.append(line for line in lines if line.key not in written)


async def mark_of(session: AsyncSession, signed: Checkpoint) -> Mark:
    last = select(ConsentEvent.leaf_hash).where(ConsentEvent.seq == signed.size)
    name = ledger.origin((await session.scalars(select(ChainHead.installation_id))).one())
    leaf = (await session.scalars(last)).one()
    return Mark(signed.size, signed.root, leaf, name, signed.note, timestamp(signed.created_at))


async def news(session: AsyncSession, since: int, until: int) -> AsyncIterator[list[Line]]:
    """Who is refused by the records after `since`, some thousand records at a time."""
    for start in range(since, until, PAGE):
        yield await _refused_by(session, start, min(until, start + PAGE))


async def _refused_by(session: AsyncSession, since: int, until: int) -> list[Line]:
    gone = select(Erasure).where(Erasure.seq > since, Erasure.seq <= until).order_by(Erasure.seq)
    lines = [
        Line(
            "erased",
            each.seq,
            each.leaf_hash,
            timestamp(each.erased_at),
            each.reason,
            refs=tuple((ref, version) for ref, version in each.refs),
            contact_id=str(each.contact_id),
            cause=each.cause,
        )
        for each in await session.scalars(gone)
    ]
    refused = (
        select(Suppression, ConsentEvent.leaf_hash)
        .join(ConsentEvent, ConsentEvent.seq == Suppression.created_seq)
        .where(
            Suppression.created_seq > since,
            Suppression.created_seq <= until,
            Suppression.lifted_at.is_(None),
            Suppression.reason.not_in(GONE),
        )
        .order_by(Suppression.created_seq, Suppression.id)
    )
    lines += [
        Line(
            "refused",
            each.created_seq or 0,
            leaf,
            timestamp(each.created_at),
            each.reason,
            scope=each.scope,
            refs=((each.ref, each.key_version),),
        )
        for each, leaf in await session.execute(refused)
    ]
    return lines
