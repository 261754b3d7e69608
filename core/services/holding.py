"""Erasure held back: where a country's law wants records kept for a while, they are sealed and destroyed in time.

Everything else goes at once, as for everybody. Sealed are the evidence of the person's consents and their addresses,
to a public key whose private half should lie elsewhere; nothing that runs opens them. The table is a default for
counsel to check, and a setting (`KAIRAN_ERASE_HOLD`); sources of its one row:

| Country | Days after the last send | Because |
|---|---|---|
| IN | 365 | Digital Personal Data Protection Rules 2025, rule 8(3): personal data, traffic data and logs for a year |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core import sealing
from core.errors import NotFound, SettingsError
from core.keys import Keyring
from core.models import ConsentEvent, ConsentEvidence, Contact, ContactAddress, Message, SealedRecord
from core.settings import Settings

BECAUSE = {"IN": "Digital Personal Data Protection Rules 2025, rule 8(3)"}
_OTHERWISE = "a rule of the country, as this installation is set"


@dataclass(frozen=True)
class Held:
    """What is kept of an erased person, why and until when."""

    until: datetime
    rule: str
    evidence: int
    addresses: int


class _Proof(msgspec.Struct):
    event_id: UUID
    salt: str  # hex
    payload: str


class _Address(msgspec.Struct):
    kind: str
    value: str


class Content(msgspec.Struct):
    """What is sealed."""

    contact_id: UUID
    erased_at: datetime
    evidence: list[_Proof]
    addresses: list[_Address]


def key_of(settings: Settings, keyring: Keyring) -> X25519PublicKey:
    """The key to seal to: the operator's, else the keyring's own. Raises SettingsError."""
    if settings.erase_hold_key is None:
        return keyring.sealing_key().public_key()
    try:
        return sealing.read_public(settings.erase_hold_key.read_bytes())
    except (OSError, ValueError) as wrong:
        raise SettingsError(f"KAIRAN_ERASE_HOLD_KEY: {settings.erase_hold_key} {wrong}") from wrong


async def due(session: AsyncSession, contact: Contact, *, settings: Settings, now: datetime) -> datetime | None:
    """Until when this person's records are to be kept; None where nothing demands it, or the time is over."""
    days = settings.erase_hold_days.get(contact.country or "")
    if not days:
        return None
    sent = await session.scalar(select(func.max(Message.permitted_at)).where(Message.contact_id == contact.id))
    said = await session.scalar(select(func.max(ConsentEvent.recorded_at)).where(ConsentEvent.subject_id == contact.id))
    last = sent or (datetime.fromisoformat(said) if said else contact.created_at)
    until = last + timedelta(days=days)
    return until if until > now else None


async def hold(
    session: AsyncSession, contact: Contact, until: datetime, *, keyring: Keyring, settings: Settings, now: datetime
) -> Held:
    """Seal the person's evidence and addresses until then; the caller deletes the open ones."""
    proofs = await session.scalars(
        select(ConsentEvidence).where(ConsentEvidence.contact_id == contact.id).order_by(ConsentEvidence.event_id)
    )
    addresses = await session.scalars(
        select(ContactAddress).where(ContactAddress.contact_id == contact.id).order_by(ContactAddress.id)
    )
    content = Content(
        contact.id,
        now,
        [_Proof(each.event_id, each.salt.hex(), each.payload) for each in proofs],
        [_Address(each.kind, each.value) for each in addresses],
    )
    key = key_of(settings, keyring)
    country = str(contact.country)
    record = SealedRecord(
        contact_id=contact.id,
        country=country,
        rule=BECAUSE.get(country, _OTHERWISE),
        until=until,
        key=sealing.fingerprint(key),
        evidence=len(content.evidence),
        addresses=len(content.addresses),
        sealed=sealing.seal(msgspec.json.encode(content), key, str(contact.id).encode()),
    )
    session.add(record)
    await session.flush()
    return Held(until, record.rule, record.evidence, record.addresses)


async def held_of(session: AsyncSession, contact_id: UUID) -> SealedRecord | None:
    """What is sealed of the person now, the newest."""
    theirs = (SealedRecord.contact_id == contact_id, SealedRecord.destroyed_at.is_(None))
    return (
        await session.scalars(select(SealedRecord).where(*theirs).order_by(SealedRecord.id.desc()).limit(1))
    ).first()


async def destroy_due(session: AsyncSession, now: datetime) -> int:
    """Destroy what is past its time; that there was something, and until when, stays written. Returns how many."""
    over = select(SealedRecord).where(SealedRecord.until <= now, SealedRecord.destroyed_at.is_(None))
    records = list(await session.scalars(over.with_for_update()))
    for record in records:
        record.sealed, record.destroyed_at = None, now
    await session.flush()
    return len(records)


async def opened(session: AsyncSession, contact_id: UUID, key: X25519PrivateKey) -> Content:
    """What was sealed of an erased person, for an authority that may demand it.

    Raises NotFound, and RuleViolation when this is not the key it was sealed to.
    """
    record = await held_of(session, contact_id)
    if record is None or record.sealed is None:
        raise NotFound("nothing is sealed of this person: its time is over, or no rule demanded it")
    return msgspec.json.decode(sealing.unseal(record.sealed, key, str(contact_id).encode()), type=Content)
