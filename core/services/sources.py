"""Systems that post to us: made, changed, given a secret, turned off; and the log of what they sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import phonenumbers
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core import incoming
from core.errors import Conflict, NotFound, RuleViolation
from core.keys import Keyring
from core.models import InboundDelivery, InboundSource
from core.services import audiences, sources_mapping
from core.services.paging import Page, decode, page
from core.statuses import AudienceKind, Membership, SourceMakes, SourceScheme, TakenStatus

MOST_SOURCES = 100
MIN_SECRET, MAX_SECRET = 16, 200
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,98}")
_OURS = frozenset({"authorization", "cookie", "host", "content-length", "content-type"})


@dataclass(frozen=True)
class Wanted:
    """What somebody says about a source; checked by `add` and `change`."""

    name: str
    scheme: SourceScheme
    signature_header: str | None
    id_header: str | None
    makes: SourceMakes
    mapping: Mapping[str, str]
    items: str | None
    region: str | None
    audience_id: UUID | None
    membership: Membership | None


async def list_page(session: AsyncSession, *, words: str | None, limit: int, cursor: str | None) -> Page[InboundSource]:
    """Newest first; `words` are part of the name."""
    statement = select(InboundSource)
    if words:
        statement = statement.where(InboundSource.name.icontains(words, autoescape=True))
    return await page(session, statement, InboundSource.id.expression, limit=limit, cursor=cursor)


async def get(session: AsyncSession, source_id: UUID, *, lock: bool = False) -> InboundSource:
    """The source; raises NotFound."""
    source = await session.get(InboundSource, source_id, with_for_update=lock)
    if source is None:
        raise NotFound("no such webhook source", source_id=str(source_id))
    return source


async def add(
    session: AsyncSession, wanted: Wanted, *, secret: str | None, keyring: Keyring, created_by: UUID | None
) -> InboundSource:
    """A new source, on at once; raises RuleViolation or Conflict. `secret` is the other system's own, if it has one."""
    values = await _checked(session, wanted, own=None)
    if (await session.scalar(select(func.count()).select_from(InboundSource)) or 0) >= MOST_SOURCES:
        raise RuleViolation(f"there are {MOST_SOURCES} sources already: take some out first")
    source = InboundSource(**values, created_by=created_by)
    session.add(source)
    await session.flush()
    if secret is not None:
        source.sealed_secret = _sealed(source, secret, keyring)
        await session.flush()
    await session.refresh(source)
    return source


async def change(session: AsyncSession, source_id: UUID, wanted: Wanted) -> InboundSource:
    """Everything but the scheme, on which the secret's form depends; raises NotFound, RuleViolation, Conflict."""
    source = await get(session, source_id, lock=True)
    if wanted.scheme is not source.scheme:
        raise RuleViolation("the scheme of a source stays: make a new source with the other one", field="scheme")
    for name, value in (await _checked(session, wanted, own=source_id)).items():
        setattr(source, name, value)
    await session.flush()
    return source


async def _checked(session: AsyncSession, wanted: Wanted, *, own: UUID | None) -> dict[str, Any]:
    """The columns; raises RuleViolation or Conflict."""
    name = wanted.name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise RuleViolation("a name has 1 to 100 characters", field="name")
    known = await session.scalar(select(InboundSource.id).where(InboundSource.name == name))
    if known is not None and known != own:
        raise Conflict("a webhook source with this name exists already")
    sources_mapping.compiled(wanted.makes, wanted.mapping, wanted.items)
    if wanted.region is not None and wanted.region not in phonenumbers.SUPPORTED_REGIONS:
        raise RuleViolation("region is a country's two capital letters, such as DE", field="region")
    await _check_membership(session, wanted)
    return {
        "name": name,
        "scheme": wanted.scheme,
        "signature_header": _signature_header(wanted),
        "id_header": None if wanted.scheme is SourceScheme.STANDARD else _header(wanted.id_header, "id_header"),
        "makes": wanted.makes,
        "mapping": {field: text.strip() for field, text in wanted.mapping.items()},
        "items": wanted.items.strip() if wanted.items else None,
        "region": wanted.region,
        "audience_id": wanted.audience_id,
        "membership": wanted.membership,
    }


async def _check_membership(session: AsyncSession, wanted: Wanted) -> None:
    if (wanted.audience_id is None) != (wanted.membership is None):
        raise RuleViolation("an audience and a membership (add, remove or mapped) go together", field="membership")
    if (wanted.membership is Membership.MAPPED) != ("member" in wanted.mapping):
        raise RuleViolation("membership is mapped when, and only when, member is mapped", field="membership")
    if wanted.audience_id is None:
        return
    if wanted.makes is not SourceMakes.CONTACT:
        raise RuleViolation(
            "only people are put on a list: use a rule audience about orders or events", field="audience_id"
        )
    if (await audiences.get(session, wanted.audience_id)).kind is not AudienceKind.STATIC:
        raise RuleViolation("people are put on static lists; a rule finds its people itself", field="audience_id")


def _signature_header(wanted: Wanted) -> str | None:
    if wanted.scheme is SourceScheme.STANDARD:
        return None
    return _header(wanted.signature_header, "signature_header") or incoming.DEFAULT_HEADERS[wanted.scheme]


def _header(name: str | None, field: str) -> str | None:
    if not name or not name.strip():
        return None
    name = name.strip().lower()
    if not _HEADER.fullmatch(name) or name in _OURS:
        raise RuleViolation("this is no name of a header such as X-Hub-Signature-256", field=field)
    return name


def _sealed(source: InboundSource, secret: str, keyring: Keyring) -> bytes:
    secret = secret.strip()
    if not MIN_SECRET <= len(secret) <= MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise RuleViolation(f"a secret has {MIN_SECRET} to {MAX_SECRET} characters", field="secret")
    incoming.key_of(source.scheme, secret)
    return keyring.seal_secret(str(source.id), secret)


def secret_of(source: InboundSource, keyring: Keyring) -> str:
    """The secret that is valid, as the other system is given it."""
    return _text_of(source, keyring, source.sealed_secret, source.secret_version)


def _text_of(source: InboundSource, keyring: Keyring, sealed: bytes | None, version: int) -> str:
    if sealed is not None:
        return keyring.open_secret(str(source.id), sealed)
    return incoming.derived_text(source.scheme, keyring.source_secret(str(source.id), version))


def keys_of(source: InboundSource, keyring: Keyring, now: datetime) -> list[bytes]:
    """The keys that may sign now: for a day after a rotation the one before too."""
    texts = [secret_of(source, keyring)]
    if _young(source, now):
        texts.append(_text_of(source, keyring, source.sealed_before, source.secret_version - 1))
    return [incoming.key_of(source.scheme, each) for each in texts]


def _young(source: InboundSource, now: datetime) -> bool:
    return source.rotated_at is not None and now - source.rotated_at < incoming.OLD_SECRET_LIVES


async def rotate(
    session: AsyncSession, source_id: UUID, *, secret: str | None, keyring: Keyring, now: datetime
) -> InboundSource:
    """Another secret, theirs or a derived one; the one before is valid for another day. Raises Conflict within it."""
    source = await get(session, source_id, lock=True)
    if _young(source, now):
        raise Conflict("the secret was rotated less than a day ago: two are valid now, a third would break one")
    source.sealed_before = source.sealed_secret
    source.sealed_secret = None if secret is None else _sealed(source, secret, keyring)
    source.secret_version, source.rotated_at = source.secret_version + 1, now
    await session.flush()
    return source


async def set_active(session: AsyncSession, source_id: UUID, *, active: bool, now: datetime) -> InboundSource:
    """On, or off: what comes while it is off is refused with 404."""
    source = await get(session, source_id, lock=True)
    source.disabled_at = None if active else source.disabled_at or now
    await session.flush()
    return source


async def remove(session: AsyncSession, source_id: UUID) -> None:
    """The source and the log of what it sent; people and orders stay."""
    await session.delete(await get(session, source_id, lock=True))
    await session.flush()


async def deliveries(
    session: AsyncSession,
    source_id: UUID,
    *,
    status: TakenStatus | None,
    words: str | None,
    limit: int,
    cursor: str | None,
) -> Page[InboundDelivery]:
    """What one source sent, newest first; `words` are part of the sender's id or of the reason."""
    await get(session, source_id)
    statement = select(InboundDelivery).where(InboundDelivery.source_id == source_id)
    if status is not None:
        statement = statement.where(InboundDelivery.status == status)
    if words:
        said = InboundDelivery.reason.icontains(words, autoescape=True)
        statement = statement.where(InboundDelivery.key.icontains(words, autoescape=True) | said)
    return await page(session, statement, InboundDelivery.id.expression, limit=limit, cursor=cursor)


async def delivery(session: AsyncSession, source_id: UUID, delivery_id: UUID, *, lock: bool = False) -> InboundDelivery:
    """One delivery of the source; raises NotFound."""
    found = await session.get(InboundDelivery, delivery_id, with_for_update=lock)
    if found is None or found.source_id != source_id:
        raise NotFound("no such delivery", delivery_id=str(delivery_id))
    return found


async def waiting(session: AsyncSession, source_id: UUID, *, cursor: str | None, limit: int) -> list[UUID]:
    """Deliveries whose body is kept because something in it did not take effect, oldest first."""
    after = decode(cursor) if cursor is not None else None
    if isinstance(after, int):
        raise RuleViolation("the cursor is not one of ours", field="cursor")
    kept = [InboundDelivery.source_id == source_id, InboundDelivery.body.is_not(None)]
    if after is not None:
        kept.append(InboundDelivery.id > after)
    return list(
        await session.scalars(select(InboundDelivery.id).where(*kept).order_by(InboundDelivery.id).limit(limit))
    )


async def forget_old(session: AsyncSession, before: datetime) -> int:
    """Delete the log of before, bodies that never took effect included; returns how many."""
    old = delete(InboundDelivery).where(InboundDelivery.created_at < before).returning(InboundDelivery.id)
    return len(list(await session.scalars(old)))
