"""Templates: define, submit, follow the provider's verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core import template_rules as rules
from core.errors import Conflict, NotFound, RuleViolation
from core.models import Media, Purpose, Sender, Template, TemplateVersion
from core.services import media
from core.statuses import Category, TemplateStatus
from core.whatsapp import payloads
from core.whatsapp.client import WhatsAppClient

_TEXT_MEMBERS = {
    "HEADER": "message_template_title",
    "BODY": "message_template_element",
    "FOOTER": "message_template_footer",
}
_KNOWN_STATUSES = frozenset(status.value for status in TemplateStatus)


@dataclass(frozen=True)
class Definition:
    """A template as a person writes it; `components` in the provider's shape."""

    name: str
    language: str
    category: Category
    purpose: str
    parameter_format: str
    components: list[dict[str, Any]]


@dataclass(frozen=True)
class Current:
    """A template and its newest version."""

    template: Template
    version: TemplateVersion


async def check(session: AsyncSession, definition: Definition, waba_id: str) -> None:
    """Raise RuleViolation or Conflict for what could not be sent later, before the provider is asked."""
    if definition.parameter_format not in ("positional", "named"):
        raise RuleViolation("parameter_format is positional or named", field="parameter_format")
    rules.check_definition(definition.name, definition.components, definition.parameter_format)
    await check_binding(session, definition.category, definition.purpose)
    same = (
        Template.waba_id == waba_id,
        Template.name == definition.name,
        Template.language == definition.language,
    )
    if await session.scalar(select(Template.id).where(*same)):
        raise Conflict("a template with this name and language exists already; choose another name")


async def check_binding(session: AsyncSession, category: Category, purpose: str) -> None:
    """A marketing template may carry a marketing purpose only; raises RuleViolation."""
    known = await session.scalar(select(Purpose.id).where(Purpose.code == purpose, Purpose.retired_at.is_(None)))
    if known is None:
        raise RuleViolation(f"there is no purpose {purpose!r}", field="purpose")
    if category is Category.MARKETING and not _is_marketing(purpose):
        raise RuleViolation("a marketing template needs a marketing purpose", field="purpose")


def _is_marketing(purpose: str) -> bool:
    return purpose.partition(".")[0] == "marketing"


async def save_draft(
    session: AsyncSession, sender: Sender, definition: Definition, *, created_by: UUID | None
) -> Current:
    """Keep a checked definition without telling the provider; it can be submitted or discarded later."""
    await check(session, definition, sender.waba_id)
    template = Template(
        waba_id=sender.waba_id,
        name=definition.name,
        language=definition.language,
        purpose=definition.purpose,
        category=definition.category,
        status=TemplateStatus.DRAFT,
        created_by=created_by,
    )
    session.add(template)
    await session.flush()
    version = await _add_version(session, template, 1, definition.parameter_format, definition.components)
    return Current(template, version)


async def _draft(session: AsyncSession, template_id: UUID) -> Current:
    """The draft, locked; raises NotFound, or Conflict when the provider knows it already."""
    template = await session.get(Template, template_id, with_for_update=True)
    if template is not None and template.status is not TemplateStatus.DRAFT:
        raise Conflict(f"this template is {template.status.value}, no draft", status=template.status)
    return await get(session, template_id)


async def submit_draft(
    session: AsyncSession, client: WhatsAppClient, template_id: UUID, *, header_media: Media | None
) -> Current:
    """Send a draft to the provider for review; raises NotFound, Conflict, or RuleViolation with its reason."""
    current = await _draft(session, template_id)
    template, version = current.template, current.version
    definition = Definition(
        template.name,
        template.language,
        template.category,
        template.purpose,
        version.parameter_format,
        list(version.components),
    )
    remote = await _create(client, template.waba_id, definition, header_media)
    template.category = payloads.category_of(remote.category) if remote.category else template.category
    template.status, template.provider_id = status_of(remote.status), remote.id
    await session.flush()
    return current


async def discard_draft(session: AsyncSession, template_id: UUID) -> None:
    """Delete a draft; raises NotFound or Conflict."""
    await session.delete((await _draft(session, template_id)).template)
    await session.flush()


async def _create(
    client: WhatsAppClient, waba_id: str, definition: Definition, header_media: Media | None
) -> payloads.CreatedTemplate:
    components = definition.components
    if header_media is not None:
        handle = await client.upload_sample(media.path_of(header_media), header_media.mime_type)
        components = [_with_sample(component, handle) for component in components]
    return await client.create_template(
        waba_id,
        {
            "name": definition.name,
            "language": definition.language,
            "category": definition.category.upper(),
            "parameter_format": definition.parameter_format.upper(),
            "components": components,
        },
    )


async def submit(
    session: AsyncSession,
    client: WhatsAppClient,
    sender: Sender,
    definition: Definition,
    *,
    header_media: Media | None,
    created_by: UUID | None,
) -> Current:
    """Send the definition to the provider for review and keep it with the provider's verdict so far."""
    await check(session, definition, sender.waba_id)
    remote = await _create(client, sender.waba_id, definition, header_media)
    template = Template(
        waba_id=sender.waba_id,
        name=definition.name,
        language=definition.language,
        purpose=definition.purpose,
        category=payloads.category_of(remote.category) if remote.category else definition.category,
        status=status_of(remote.status),
        provider_id=remote.id,
        created_by=created_by,
    )
    session.add(template)
    await session.flush()
    version = await _add_version(session, template, 1, definition.parameter_format, definition.components)
    return Current(template, version)


def _with_sample(component: dict[str, Any], handle: str) -> dict[str, Any]:
    if str(component.get("type", "")).upper() != "HEADER":
        return component
    return {**component, "example": {"header_handle": [handle]}}


async def _add_version(
    session: AsyncSession, template: Template, number: int, parameter_format: str, components: list[dict[str, Any]]
) -> TemplateVersion:
    version = TemplateVersion(
        template_id=template.id, version=number, parameter_format=parameter_format, components=components
    )
    session.add(version)
    await session.flush()
    return version


def status_of(word: str) -> TemplateStatus:
    """The provider's status word; what is new is shown as locked, which cannot be sent."""
    lower = word.lower()
    if lower in ("reinstated", "unarchived"):
        return TemplateStatus.APPROVED
    return TemplateStatus(lower) if lower in _KNOWN_STATUSES else TemplateStatus.LOCKED


async def get(session: AsyncSession, template_id: UUID) -> Current:
    """The template with its newest version; raises NotFound."""
    found = await _newest(session, Template.id == template_id)
    if not found:
        raise NotFound("no such template", template_id=str(template_id))
    return found[0]


async def list_all(session: AsyncSession) -> list[Current]:
    return await _newest(session, Template.id.is_not(None))


async def _newest(session: AsyncSession, condition: Any) -> list[Current]:
    ranked = (
        select(TemplateVersion.template_id, func.max(TemplateVersion.version).label("version"))
        .group_by(TemplateVersion.template_id)
        .subquery()
    )
    statement = (
        select(Template, TemplateVersion)
        .join(ranked, ranked.c.template_id == Template.id)
        .join(
            TemplateVersion,
            (TemplateVersion.template_id == Template.id) & (TemplateVersion.version == ranked.c.version),
        )
        .where(condition)
        .order_by(Template.id.desc())
    )
    return [Current(template, version) for template, version in await session.execute(statement)]


async def sync(session: AsyncSession, client: WhatsAppClient, waba_id: str, *, default_purpose: str) -> tuple[int, int]:
    """Take over what the provider lists: new templates, changed statuses and contents; returns (created, updated).

    New ones are for `default_purpose`, but what the provider charges as marketing is for marketing in any case.
    Raises RuleViolation for an unknown purpose.
    """
    await check_binding(session, Category.UTILITY, default_purpose)
    is_marketing = _is_marketing(default_purpose)
    created = updated = 0
    known = {(t.template.name, t.template.language): t for t in await _newest(session, Template.waba_id == waba_id)}
    for remote in await client.list_templates(waba_id):
        current = known.get((remote.name, remote.language))
        category = payloads.category_of(remote.category)
        if current is None:
            template = Template(
                waba_id=waba_id,
                name=remote.name,
                language=remote.language,
                purpose=default_purpose if is_marketing or category is not Category.MARKETING else "marketing",
                category=category,
                status=status_of(remote.status),
                provider_id=remote.id,
            )
            session.add(template)
            await session.flush()
            await _add_version(session, template, 1, remote.parameter_format.lower(), remote.components)
            created += 1
            continue
        template = current.template
        before = (template.status, template.category, template.provider_id)
        template.status, template.provider_id = status_of(remote.status), remote.id
        template.category = category
        changed = before != (template.status, template.category, template.provider_id)
        if remote.components and _content(remote.components) != _content(current.version.components):
            number = current.version.version + 1
            await _add_version(session, template, number, remote.parameter_format.lower(), remote.components)
            changed = True
        updated += changed
    return created, updated


def _content(components: Sequence[Any]) -> list[Any]:
    """Components without examples, which the provider rewrites."""
    return [
        {key: value for key, value in component.items() if key != "example"}
        | (
            {"buttons": [{k: v for k, v in button.items() if k != "example"} for button in component["buttons"]]}
            if "buttons" in component
            else {}
        )
        for component in components
    ]


def take_status(template: Template, event: str, reason: str | None) -> None:
    """The provider's verdict by webhook."""
    template.status = status_of(event)
    template.status_reason = None if reason in (None, "NONE") else reason


def misfit(template: Template) -> bool:
    """Whether the provider charges the template as marketing though its purpose is another."""
    return template.category is Category.MARKETING and not _is_marketing(template.purpose)


async def take_content(session: AsyncSession, template: Template, value: Mapping[str, Any]) -> int | None:
    """A new version with the texts of `message_template_components_update`; None when they are the ones we have.

    The webhook names texts and buttons only: a picture in the header and whatever else it leaves out stays.
    """
    current = await get(session, template.id)
    components = _edited(current.version.components, value)
    if _spoken(components) == _spoken(current.version.components):
        return None
    number = current.version.version + 1
    await _add_version(session, template, number, current.version.parameter_format, components)
    return number


def _edited(components: Sequence[Any], value: Mapping[str, Any]) -> list[Any]:
    """The components with the texts the provider names; a text it names that was not there is added."""
    told = {
        kind: value[name] for kind, name in _TEXT_MEMBERS.items() if isinstance(value.get(name), str) and value[name]
    }
    edited = []
    for component in components:
        kind = str(component.get("type", "")).upper()
        text = told.pop(kind, None)
        if kind == "BUTTONS" and isinstance(value.get("message_template_buttons"), list):
            edited.append({**component, "buttons": _buttons(component.get("buttons", []), value)})
        elif text is not None and "text" in component:
            edited.append({**component, "text": text})
        else:
            edited.append(component)
    added = [{"type": kind, "text": text} for kind, text in told.items()]
    return [*edited, *added]


def _buttons(ours: Sequence[Any], value: Mapping[str, Any]) -> list[Any]:
    """The provider's buttons; what it does not repeat (examples) is kept from the one in the same place."""
    buttons = []
    for place, told in enumerate(value["message_template_buttons"]):
        if not isinstance(told, dict):
            continue
        given = {
            "type": told.get("message_template_button_type"),
            "text": told.get("message_template_button_text"),
            "url": told.get("message_template_button_url"),
            "phone_number": told.get("message_template_button_phone_number"),
        }
        kept = ours[place] if place < len(ours) and ours[place].get("type") == given["type"] else {}
        buttons.append({**kept, **{name: text for name, text in given.items() if text}})
    return buttons


def _spoken(components: Sequence[Any]) -> list[Any]:
    return sorted(_content(components), key=lambda component: str(component.get("type", "")))
