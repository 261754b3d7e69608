"""Notices and purposes are proposed by one person and published by another."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import Conflict, Forbidden, NotFound, RuleViolation
from core.keys import Keyring
from core.models import RegistryDraft
from core.services import consents
from core.services.people import Actor

NOTICE, PURPOSE = "notice", "purpose"
FIELDS: dict[str, dict[str, type]] = {
    NOTICE: {"code": str, "language": str, "controller": str, "purposes": list, "text": str, "withdrawal_info": str},
    PURPOSE: {
        "code": str,
        "controller": str,
        "description": dict,
        "min_grade": str,
        "validity_days": int,
        "needs_consent": bool,
    },
}
MAX_VALIDITY_DAYS = 3650


async def propose(session: AsyncSession, kind: str, content: dict[str, Any], *, actor: Actor) -> RegistryDraft:
    """Keep a draft for somebody else to publish; raises RuleViolation naming what is missing or wrong."""
    if actor.user_id is None:
        raise Forbidden("a person proposes a draft, not a program")
    for name, form in FIELDS[kind].items():
        if not isinstance(content.get(name), form) or content[name] in ("", [], {}):
            raise RuleViolation(f"a {kind} needs {name}", field=f"content.{name}")
    if unknown := sorted(set(content) - set(FIELDS[kind])):
        raise RuleViolation(f"a {kind} has no {', '.join(unknown)}", field="content")
    if kind == PURPOSE and not 1 <= content["validity_days"] <= MAX_VALIDITY_DAYS:
        raise RuleViolation(f"validity_days is 1 to {MAX_VALIDITY_DAYS}", field="content.validity_days")
    draft = RegistryDraft(kind=kind, content=content, status="open", proposed_by=actor.user_id)
    session.add(draft)
    await session.flush()
    await session.refresh(draft)
    return draft


async def list_all(session: AsyncSession, *, limit: int = 100) -> Sequence[RegistryDraft]:
    """Newest first."""
    return list(await session.scalars(select(RegistryDraft).order_by(RegistryDraft.id.desc()).limit(limit)))


async def publish(
    session: AsyncSession, draft_id: UUID, *, actor: Actor, keyring: Keyring, now: datetime
) -> RegistryDraft:
    """Make the draft the version in force, sealed in the ledger. Raises Forbidden for the person who proposed it."""
    draft = await _open(session, draft_id)
    if actor.user_id is None or actor.user_id == draft.proposed_by:
        raise Forbidden("somebody else than the person who proposed it publishes a draft")
    if draft.kind == NOTICE:
        notice = await consents.publish_notice(
            session, **draft.content, keyring=keyring, now=now, published_by=actor.user_id
        )
        draft.published_id = notice.id
    else:
        purpose = await consents.put_purpose(session, **draft.content, keyring=keyring, now=now)
        draft.published_id = purpose.id
    draft.status, draft.decided_by, draft.decided_at = "published", actor.user_id, now
    await session.flush()
    return draft


async def reject(session: AsyncSession, draft_id: UUID, *, reason: str, actor: Actor, now: datetime) -> RegistryDraft:
    """Give the draft up, with the reason; whoever proposed it may do so too."""
    draft = await _open(session, draft_id)
    draft.status, draft.decided_by, draft.decided_at, draft.reason = "rejected", actor.user_id, now, reason
    await session.flush()
    return draft


async def _open(session: AsyncSession, draft_id: UUID) -> RegistryDraft:
    draft = await session.get(RegistryDraft, draft_id, with_for_update=True)
    if draft is None:
        raise NotFound("no such draft", draft_id=str(draft_id))
    if draft.status != "open":
        raise Conflict("this draft was decided on before", status=draft.status)
    return draft
