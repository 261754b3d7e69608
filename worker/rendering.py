"""What to send for each claimed message: its template filled in, or what was written as a reply."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.clock import utc_now
from core.db import Sessions
from core.errors import AppError
from core.models import Media, Template, TemplateVersion
from core.services import replies
from core.services.messages import Claimed
from core.statuses import MessageKind, SkipReason, TemplateStatus
from core.template import Form
from core.whatsapp.errors import ERRORS, ProviderError

log = structlog.get_logger()

FORMS_KEPT = 1000
MISSING = 132001
REFUSED_WITH: dict[TemplateStatus | None, int] = {TemplateStatus.PAUSED: 132015, TemplateStatus.DISABLED: 132016}


@dataclass(frozen=True)
class Unusable:
    """A message whose template may not be sent now."""

    claimed: Claimed
    meaning: str
    error: ProviderError  # as the provider would refuse it


@dataclass(frozen=True)
class Rendered:
    """A batch's contents by message id; those that cannot be sent, and why; those whose template stands still."""

    contents: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    skipped: list[tuple[UUID, SkipReason]] = field(default_factory=list)
    unusable: list[Unusable] = field(default_factory=list)


class Renderer:
    """Fills in templates. A version never changes, so each is read and taken apart once."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._forms: dict[UUID, Form] = {}

    async def render(self, batch: list[Claimed]) -> Rendered:
        """What to send for each message; one that cannot be rendered fails alone, with its reason in the log."""
        rendered = Rendered()
        await self._learn({claimed.template_version_id for claimed in batch if claimed.template_version_id})
        media = await self._media(batch)
        for claimed in batch:
            form = self._forms.get(claimed.template_version_id) if claimed.template_version_id else None
            if claimed.kind is MessageKind.REPLY:
                _add(rendered, claimed, replies.content_of(claimed.parameters, now=utc_now()), SkipReason.WINDOW_CLOSED)
            elif form is None:
                rendered.skipped.append((claimed.id, SkipReason.BAD_PARAMETERS))
            elif claimed.template_status is not TemplateStatus.APPROVED:
                meaning = f"the template {form.name} is {claimed.template_status}"
                code = REFUSED_WITH.get(claimed.template_status, MISSING)
                rendered.unusable.append(Unusable(claimed, meaning, ERRORS[code]))
            else:
                _add(rendered, claimed, _filled(form, claimed, media), SkipReason.BAD_PARAMETERS)
        return rendered

    async def _learn(self, versions: set[UUID]) -> None:
        new = versions - self._forms.keys()
        if not new:
            return
        if len(self._forms) > FORMS_KEPT:
            self._forms.clear()
        joined = select(Template, TemplateVersion).join(TemplateVersion, TemplateVersion.template_id == Template.id)
        async with self._sessions() as session:
            for used, version in await session.execute(joined.where(TemplateVersion.id.in_(new))):
                form = Form.of(used.name, used.language, version.parameter_format, version.components)
                self._forms[version.id] = form

    async def _media(self, batch: list[Claimed]) -> dict[str, str]:
        """Our media ids → the provider's, for headers that are media."""
        wanted: set[UUID] = set()
        for claimed in batch:
            form = self._forms.get(claimed.template_version_id) if claimed.template_version_id else None
            if form is not None and form.media_hole is not None:
                wanted |= _uuid(claimed.parameters.get(form.media_hole.key))
        if not wanted:
            return {}
        async with self._sessions() as session:
            return await _provider_ids(session, wanted)


def _add(rendered: Rendered, claimed: Claimed, content: dict[str, Any] | None, otherwise: SkipReason) -> None:
    if content is None:
        rendered.skipped.append((claimed.id, otherwise))
    else:
        rendered.contents[claimed.id] = content


async def _provider_ids(session: AsyncSession, wanted: set[UUID]) -> dict[str, str]:
    rows = await session.execute(select(Media.id, Media.provider_id).where(Media.id.in_(wanted)))
    return {str(row.id): row.provider_id for row in rows}


def _uuid(value: object) -> set[UUID]:
    try:
        return {UUID(str(value))}
    except ValueError:
        return set()


def _filled(form: Form, claimed: Claimed, media: dict[str, str]) -> dict[str, Any] | None:
    """The content to send; None when it cannot be rendered."""
    try:
        parameters, hole = claimed.parameters, form.media_hole
        if hole is not None:
            parameters = {**parameters, hole.key: media[str(parameters[hole.key])]}
        problem = next(form.problems(parameters), None)
        if problem is None:
            return form.content(parameters)
        log.warning("message.unrenderable", message_id=str(claimed.id), problem=problem)
    except (AppError, KeyError, TypeError, ValueError) as broken:
        log.warning("message.unrenderable", message_id=str(claimed.id), error=type(broken).__name__)
    return None
