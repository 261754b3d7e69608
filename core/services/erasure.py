"""Erasure: what names a person goes for good; what proves that it was lawful to write, and that they said stop, stays.

Kept are the sealed events and the facts about messages (random ids, words and instants), and the keyed hashes that
refuse the addresses. A journal outside the database remembers who was erased, so that no restored backup undoes it.
Late reports of the provider about an erased person's messages bring their ids back for a while: `scrub_late` takes
them out again, every night.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import CursorResult, Delete, Update, delete, func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core import queue
from core.consent import stored
from core.consent.acts import Act, ActorType, Method
from core.consent.state import EventType
from core.errors import Conflict, NotFound
from core.keys import Keyring
from core.models import (
    AudienceMember,
    ConsentEvidence,
    Contact,
    ContactAddress,
    ContactEvent,
    DataRequest,
    Erasure,
    Export,
    IdempotencyKey,
    Import,
    ImportChange,
    InboundMessage,
    Message,
    ParkedStatus,
    PendingWithdrawal,
    ReceivedFile,
    WebhookEvent,
)
from core.services import consents, forms, holding, media, profiles, sources_taking
from core.services.erasure_lock import keep_out
from core.services.people import Actor
from core.settings import Settings
from core.statuses import DeliveryStatus, WebhookStatus, WorkStatus
from core.traces import Traces, names_person

REASON = "erasure"  # what the ledger says; why somebody asked is nobody's business there
NUMBERS = ("phone", "wa_id")
OPEN = (WorkStatus.WAITING, WorkStatus.RUNNING)


@dataclass
class Erased:
    """What went, counted per kind; `seq` and `leaf_hash` name the sealed event that says so."""

    contact_id: UUID
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    leaf_hash: str = ""
    held: holding.Held | None = None  # what a country's rule keeps sealed, why and until when
    cause: str = ""
    reason: str = ""
    files: list[Path] = field(default_factory=list)


async def erase(
    session: AsyncSession,
    contact_id: UUID,
    *,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    request_id: UUID | None = None,
    reason: str = REASON,
) -> Erased:
    """Erase the person in the caller's transaction; the files that name them are in `files`, for `remove_files`.

    Raises NotFound; Conflict when they are erased already, or while a message to them is on its way, webhooks about
    them are not recorded yet, or an import or export is at work that may hold them.
    """
    await keep_out(session)
    ids = await profiles.same_person(session, contact_id)
    if contact_id not in await stored.lock_contacts(session, ids):
        raise NotFound("no such contact", contact_id=str(contact_id))
    contact = await session.get_one(Contact, contact_id, populate_existing=True)
    if contact.erased_at is not None:
        raise Conflict("this person was erased before", erased_at=contact.erased_at.isoformat())
    if contact.merged_into is not None:
        raise Conflict("this contact was merged into another: erase that one", contact_id=str(contact.merged_into))
    traces = await traces_of(session, ids)
    await _refuse_while_busy(session, ids, traces)
    erased = Erased(contact_id)
    counted: Counter[str] = Counter()
    for each in reversed(ids):  # those merged into the person first, so that the person's own event is the last
        erased.counts, erased.kept = {}, {}
        await _messages(session, each, now, erased)
        await _what_was_said(session, each, traces, erased)
        await _what_was_shown(session, ids, erased)
        await _files(session, each, traces, erased)
        await _records(session, each, traces, erased)
        refs = await stored.address_refs(session, [each], keyring)
        asked = [ref for versions in refs.get(each, []) for ref in versions]
        erased.counts["form_requests"] = await forms.forget_person(session, each, asked)
        until = await holding.due(session, await session.get_one(Contact, each), settings=settings, now=now)
        await _seal(session, each, actor, keyring, settings, now, request_id, reason, erased)
        await _remember(session, each, [ref for ref, *_ in refs.get(each, [])], keyring, now, erased)
        if until is not None:
            await _hold_back(session, each, until, keyring, settings, now, erased)
        await _particulars(session, each, now, erased)
        counted.update(erased.counts)
        counted.update({f"kept {name}": count for name, count in erased.kept.items()})
    erased.counts = {name: count for name, count in counted.items() if not name.startswith("kept ")}
    erased.kept = {name.removeprefix("kept "): n for name, n in counted.items() if name.startswith("kept ")}
    return erased


async def _remember(
    session: AsyncSession, contact_id: UUID, refs: list[str], keyring: Keyring, now: datetime, erased: Erased
) -> None:
    """Who was erased, for the journal outside the database and for whoever asks with the number."""
    hashes = [[ref, keyring.address_version] for ref in refs]
    facts = {"seq": erased.seq, "leaf_hash": erased.leaf_hash, "reason": erased.reason, "cause": erased.cause}
    session.add(Erasure(contact_id=contact_id, refs=hashes, erased_at=now, **facts))
    await session.flush()
    queue.ring_after_commit(session, queue.SIGN_LEDGER)


async def _hold_back(
    session: AsyncSession,
    contact_id: UUID,
    until: datetime,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    erased: Erased,
) -> None:
    """Where the country's rule demands it, seal evidence and addresses before they go."""
    contact = await session.get_one(Contact, contact_id, populate_existing=True)
    erased.held = await holding.hold(session, contact, until, keyring=keyring, settings=settings, now=now)
    erased.kept |= {"sealed_evidence": erased.held.evidence, "sealed_addresses": erased.held.addresses}


async def _particulars(session: AsyncSession, contact_id: UUID, now: datetime, erased: Erased) -> None:
    """Evidence, addresses, and what the contact's row says."""
    contact = await session.get_one(Contact, contact_id, populate_existing=True)
    erased.counts |= {
        "evidence": await _changed(session, delete(ConsentEvidence).where(ConsentEvidence.contact_id == contact_id)),
        "addresses": await _changed(session, delete(ContactAddress).where(ContactAddress.contact_id == contact_id)),
        "attributes": len(contact.attributes) + len(contact.tags),
    }
    contact.name = contact.language = contact.time_zone = contact.import_id = None
    contact.first_seen_at = contact.last_seen_at = None
    contact.attributes, contact.tags, contact.erased_at = {}, [], now
    await session.flush()


def remove_files(files: list[Path]) -> None:
    """Delete what names the person; before the commit, so that no crash leaves a file nobody remembers."""
    for path in files:
        path.unlink(missing_ok=True)


async def _changed(session: AsyncSession, statement: Update | Delete) -> int:
    return cast(CursorResult[Any], await session.execute(statement)).rowcount


async def traces_of(session: AsyncSession, ids: list[UUID]) -> Traces:
    """Everything the person is recognised by: every address they ever had, their names, their ids."""
    rows = list(await session.scalars(select(ContactAddress).where(stored.among(ContactAddress.contact_id, ids))))
    numbers = [number for row in rows if row.kind in NUMBERS for number in (row.value, row.match_key)]
    user_ids = [row.value for row in rows if row.kind not in NUMBERS]
    names = list(await session.scalars(select(Contact.name).where(stored.among(Contact.id, ids))))
    return Traces.of(numbers=numbers, words=[*names, *map(str, ids), *user_ids])


async def _refuse_while_busy(session: AsyncSession, ids: list[UUID], traces: Traces) -> None:
    sending = (stored.among(Message.contact_id, ids), Message.status == DeliveryStatus.SENDING)
    if await session.scalar(select(Message.id).where(*sending).limit(1)):
        raise Conflict("a message to this person is on its way: try again in a minute")
    waiting = select(WebhookEvent.body).where(WebhookEvent.status == WebhookStatus.WAITING)
    if any(traces.within(body.decode("utf-8", "replace")) for body in await session.scalars(waiting)):
        raise Conflict("webhooks about this person are not recorded yet: try again in a minute")
    for kind in (Import, Export):
        if await session.scalar(select(kind.id).where(kind.status.in_(OPEN)).limit(1)):
            raise Conflict(
                f"an {kind.__name__.lower()} is at work that may hold this person: try again when it is done"
            )


_UNSENT = text("""
    WITH moved AS (
        UPDATE messages SET status = 'skipped', skip_reason = 'erased'
         WHERE contact_id = :contact AND status = 'queued'
     RETURNING id, queued_on)
    INSERT INTO message_events (message_id, queued_on, kind, occurred_at, event_key, reason)
    SELECT id, queued_on, 'suppressed', :now, gen_random_uuid(), 'erased' FROM moved
    RETURNING message_id
""")
_LINKS = text("""
    UPDATE links SET url = regexp_replace(url, '^(https?://[^/?#]+).*$', '\\1/')
     WHERE message_id IN (SELECT id FROM messages WHERE contact_id = :contact)
    RETURNING code
""")
_REVIEWS = text("""
    UPDATE campaigns SET review = jsonb_set(review, '{variants}', (
               SELECT coalesce(jsonb_agg(variant || '{"sample": []}'), '[]')
                 FROM jsonb_array_elements(review->'variants') AS variant))
     WHERE jsonb_typeof(review->'variants') = 'array'
       AND jsonb_path_exists(review, '$.variants[*].sample[*]')
       AND (expanded_at IS NULL  -- who is in it is not written down yet
            OR EXISTS (SELECT 1 FROM messages WHERE campaign_id = campaigns.id AND contact_id = :contact))
    RETURNING id
""")


async def _messages(session: AsyncSession, contact_id: UUID, now: datetime, erased: Erased) -> None:
    """Cancel what waits; take the texts, and the provider's ids: the number can be read out of them."""
    unsent = (await session.execute(_UNSENT, {"contact": contact_id, "now": now})).all()
    blank = {"parameters": null(), "wamid": None, "error": None}  # SQL's null, not JSON's
    texts = await _changed(session, update(Message).where(Message.contact_id == contact_id).values(blank))
    links = (await session.execute(_LINKS, {"contact": contact_id})).all()
    reviews = (await session.execute(_REVIEWS, {"contact": contact_id})).all()
    erased.counts |= {
        "messages_cancelled": len(unsent),
        "message_texts": texts,
        "link_addresses": len(links),
        "campaign_samples": len(reviews),
    }
    erased.kept["message_facts"] = texts


_WEBHOOKS = text("""
    DELETE FROM webhook_events
     WHERE status <> 'waiting'
       AND EXISTS (SELECT 1 FROM unnest(CAST(:needles AS bytea[])) AS needle WHERE position(needle IN body) > 0)
    RETURNING id
""")


async def _what_was_said(session: AsyncSession, contact_id: UUID, traces: Traces, erased: Erased) -> None:
    """Blank what the person wrote, and drop the provider's bodies that name them."""
    theirs = select(InboundMessage.id).where(InboundMessage.contact_id == contact_id)
    gone = delete(ReceivedFile).where(ReceivedFile.inbound_id.in_(theirs)).returning(ReceivedFile.path)
    received = [Path(path) for path in await session.scalars(gone) if path]
    erased.files += received
    anonymous: dict[str, Any] = {"text": None, "payload": {}, "provider_id": func.concat("erased:", InboundMessage.id)}
    inbound = await _changed(
        session, update(InboundMessage).where(InboundMessage.contact_id == contact_id).values(anonymous)
    )
    needles = [word.encode() for word in {*traces.digits, *traces.words}]
    bodies = (await session.execute(_WEBHOOKS, {"needles": needles})).all()
    pending = await _changed(session, delete(PendingWithdrawal).where(PendingWithdrawal.contact_id == contact_id))
    parked = [
        row.id for row in await session.scalars(select(ParkedStatus)) if traces.within(f"{row.wamid}\n{row.report}")
    ]
    await session.execute(delete(ParkedStatus).where(stored.among(ParkedStatus.id, parked)))
    erased.counts |= {
        "inbound_messages": inbound,
        "received_files": len(received),
        "webhook_bodies": len(bodies) + len(parked) + await sources_taking.forget_person(session, traces),
        "pending_withdrawals": pending,
    }


async def _what_was_shown(session: AsyncSession, ids: list[UUID], erased: Erased) -> None:
    """Files that only this person got as an answer."""
    shown = await media.forget_persons(session, ids)
    erased.files += shown
    erased.counts["answered_files"] = len(shown)


# Full-width digits count as digits; the pattern allows for blanks and punctuation between them.
_IMPORT_ROWS = text("""
    UPDATE import_rows SET raw = NULL
     WHERE jsonb_typeof(raw) = 'object'
       AND (contact_id = :contact
            OR translate(raw::text, '０１２３４５６７８９', '0123456789') ~ CAST(:pattern AS text)
            OR (contact_id IS NULL AND EXISTS (
                SELECT 1 FROM jsonb_each_text(CASE jsonb_typeof(raw) WHEN 'object' THEN raw ELSE '{}' END) AS cell
                 WHERE cell.value = ANY(CAST(:words AS text[])))))
    RETURNING import_id
""")
_IMPORTS = text("""
    SELECT id, path FROM imports
     WHERE id = ANY(CAST(:named AS uuid[])) OR status IN ('failed', 'cancelled')
        OR id IN (SELECT import_id FROM import_rows WHERE contact_id = :contact)
        OR id IN (SELECT import_id FROM audience_members WHERE contact_id = :contact)
""")


async def _files(session: AsyncSession, contact_id: UUID, traces: Traces, erased: Erased) -> None:
    """Blank import rows and name the files to go: uploads that had the person, exports that name them."""
    origin = await session.scalar(select(Contact.import_id).where(Contact.id == contact_id))
    found = {"contact": contact_id, "pattern": traces.pattern, "words": list(traces.words)}
    rows = [row.import_id for row in await session.execute(_IMPORT_ROWS, found)]
    named = {*rows, *([origin] if origin else [])}
    uploads = (await session.execute(_IMPORTS, {"named": list(named), "contact": contact_id})).all()
    files = [path for row in uploads if (path := Path(row.path)).exists() and path not in erased.files]
    packages = [
        path
        for export in await session.scalars(select(Export).where(Export.path.is_not(None)))
        if (path := Path(str(export.path))).exists() and path not in erased.files
        if await asyncio.to_thread(names_person, path, traces)
    ]
    erased.files += [*files, *packages]
    erased.counts |= {"import_rows": len(rows), "import_files": len(files), "export_files": len(packages)}


async def _records(session: AsyncSession, contact_id: UUID, traces: Traces, erased: Erased) -> None:
    members = await _changed(session, delete(AudienceMember).where(AudienceMember.contact_id == contact_id))
    await session.execute(delete(ImportChange).where(ImportChange.contact_id == contact_id))
    blank = {"note": None, "outcome": None, "identity_proof": None}
    await session.execute(update(DataRequest).where(DataRequest.contact_id == contact_id).values(blank))
    answers = [
        row.id
        for row in await session.execute(select(IdempotencyKey.id, IdempotencyKey.body))
        if traces.within(row.body.decode("utf-8", "replace"))
    ]
    await session.execute(delete(IdempotencyKey).where(stored.among(IdempotencyKey.id, answers)))
    done = await _changed(session, delete(ContactEvent).where(ContactEvent.contact_id == contact_id))
    erased.counts |= {"events": done, "audience_memberships": members, "remembered_answers": len(answers)}


async def _seal(
    session: AsyncSession,
    contact_id: UUID,
    actor: Actor,
    keyring: Keyring,
    settings: Settings,
    now: datetime,
    request_id: UUID | None,
    reason: str,
    erased: Erased,
) -> None:
    """Withdraw everything and seal that the person was erased; their addresses stay refused."""
    cause = str(request_id or uuid4())
    facts: dict[str, Any] = {
        "contact_id": contact_id,
        "purpose": "*",
        "source": "system",
        "occurred_at": now,
        "actor": ActorType.SYSTEM if actor.user_id is None else ActorType.STAFF,
        "actor_id": actor.id,
        "method": Method.DSAR,
        "reason": reason,
        "refs": {"dsar": cause},
    }
    acts = [
        Act(event_type=event_type, source_key=f"{event_type.value}|{contact_id}|{cause}", **facts)
        for event_type in (EventType.WITHDRAWN, EventType.ERASED)
    ]
    outcomes = await consents.record(session, acts, keyring=keyring, settings=settings, now=now)
    events = await session.execute(
        text("SELECT seq, leaf_hash FROM consent_events WHERE seq = :seq"), {"seq": outcomes[-1].seq}
    )
    erased.seq, erased.leaf_hash = events.one()
    erased.cause, erased.reason = cause, reason
    refused = text("SELECT count(*) FROM suppressions WHERE created_seq = ANY(CAST(:seqs AS bigint[]))")
    found = await session.execute(refused, {"seqs": [outcome.seq for outcome in outcomes]})
    sealed = await session.execute(
        text("SELECT count(*) FROM consent_events WHERE subject_id = :contact"), {"contact": contact_id}
    )
    erased.kept |= {"suppressions": found.scalar_one(), "sealed_events": sealed.scalar_one()}


_LATE = text("""
    UPDATE messages SET parameters = NULL, wamid = NULL, error = NULL
     WHERE (parameters IS NOT NULL OR wamid IS NOT NULL OR error IS NOT NULL) AND status <> 'sending'
       AND contact_id IN (SELECT id FROM contacts WHERE erased_at IS NOT NULL)
    RETURNING id
""")


async def scrub_late(session: AsyncSession) -> int:
    """Take out what late reports brought back about erased people; returns how many messages."""
    return len((await session.execute(_LATE)).all())
