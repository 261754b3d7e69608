"""Which attributes contacts have, and what kind of value each holds."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, literal, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.attributes import MAX_NAME, READS_AS, Definition
from core.errors import NotFound, RuleViolation
from core.models import AttributeDefinition, Contact
from core.statuses import AttributeKind

MAX_CHOICES = 200


async def list_all(session: AsyncSession) -> list[AttributeDefinition]:
    """Every definition, by name."""
    return list(await session.scalars(select(AttributeDefinition).order_by(AttributeDefinition.name)))


async def definitions(session: AsyncSession) -> dict[str, Definition]:
    """Name → kind, of the attributes that have one."""
    return {row.name: Definition(row.kind, tuple(row.choices)) for row in await list_all(session)}


async def put(
    session: AsyncSession, name: str, *, kind: AttributeKind, choices: Sequence[str], description: str | None
) -> AttributeDefinition:
    """Define an attribute, or change what it is; values people have already stay as they are (see `misfits`).

    Raises RuleViolation.
    """
    choices = [choice.strip() for choice in choices]
    if not name.strip() or len(name) > MAX_NAME:
        raise RuleViolation(f"an attribute's name has 1 to {MAX_NAME} characters", field="name")
    if (kind is AttributeKind.CHOICE) != bool(choices):
        raise RuleViolation("a choice, and only a choice, has choices", field="choices")
    if len(choices) > MAX_CHOICES or not all(choices) or len({each.lower() for each in choices}) < len(choices):
        raise RuleViolation(f"choices are at most {MAX_CHOICES} different texts", field="choices")
    known = await session.get(AttributeDefinition, name, with_for_update=True)
    if known is None:
        known = AttributeDefinition(name=name, kind=kind, choices=choices, description=description)
        session.add(known)
    else:
        known.kind, known.choices, known.description = kind, choices, description
    await session.flush()
    return known


async def remove(session: AsyncSession, name: str) -> None:
    """Forget the definition; values stay, as text. Raises NotFound."""
    known = await session.get(AttributeDefinition, name)
    if known is None:
        raise NotFound("there is no such attribute", name=name)
    await session.delete(known)
    await session.flush()


async def misfits(session: AsyncSession, definition: AttributeDefinition) -> int:
    """How many people have a value of another kind."""
    value: Any = Contact.attributes[definition.name].astext
    if definition.kind is AttributeKind.CHOICE:
        fits = value.in_(definition.choices)
    elif definition.kind in READS_AS:
        fits = value.regexp_match(literal(READS_AS[definition.kind]))
    else:
        return 0
    wrong = and_(Contact.attributes.has_key(definition.name), not_(fits))
    return await session.scalar(select(func.count()).select_from(Contact).where(wrong)) or 0
