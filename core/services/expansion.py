"""Expansion: the audience becomes message rows, a page of people per statement.

Who gets which variant follows from the ids alone, so a page repeated after a crash makes the same rows or none.
Review and test sends fill templates with the same statement, so what was looked at is what goes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import DateTime, Integer, Text, Time, Uuid

from core import queue
from core.errors import RuleViolation
from core.models import Campaign, CampaignVariant, Contact
from core.statuses import PRIORITY, Category, MessageKind
from core.template import Placeholder

PAGE = 5000
BASIS = 10_000
SOURCES = ("contact.name", "contact.language", "contact.country")
ATTRIBUTE_SOURCE = "contact.attributes."
VALUE_KINDS = frozenset({"text", "source", "media_id", "link", "payload"})


@dataclass(frozen=True)
class Arm:
    """A variant with what its rows need."""

    variant: CampaignVariant
    category: Category
    holes: list[Placeholder]


def check_parameters(holes: Sequence[Placeholder], parameters: dict[str, Any]) -> None:
    """Raise RuleViolation unless every hole has a value of the right kind, and no value is without a hole."""
    known = {hole.key: hole for hole in holes}
    for key in parameters:
        if key not in known:
            raise RuleViolation(f"the template has no placeholder {key}", field=f"parameters.{key}")
    for key, hole in known.items():
        given = parameters.get(key)
        if given is None:
            if hole.required:
                raise RuleViolation(f"the placeholder {key} needs a value", field=f"parameters.{key}")
            continue
        kinds = VALUE_KINDS & set(given)
        if len(kinds) != 1 or set(given) - kinds - {"fallback"}:
            raise RuleViolation(
                f"{key} takes one of text, source (with a fallback), media_id, link or payload",
                field=f"parameters.{key}",
            )
        problem = _problem(hole, given, next(iter(kinds)))
        if problem:
            raise RuleViolation(f"{key} {problem}", field=f"parameters.{key}")


def _problem(hole: Placeholder, given: dict[str, Any], kind: str) -> str | None:
    media = hole.type in ("image", "video", "document")
    if media != (kind == "media_id"):
        return "needs a media_id" if media else "takes no media_id"
    if (kind == "payload") != (hole.type == "payload"):
        return f"does not take a {kind}"
    if kind == "link" and (hole.component != "button" or not str(given["link"]).startswith(("http://", "https://"))):
        return "a link is an http(s) address on a URL button"
    if kind == "source":
        source = str(given["source"])
        if source not in SOURCES and (not source.startswith(ATTRIBUTE_SOURCE) or source == ATTRIBUTE_SOURCE):
            return f"has an unknown source {source!r}"
    return None


# A contact's draw is 0 … 9,999, uniform and fixed: 56 bits of SHA-256 over a salt, the campaign and the contact.
# A value the contact lacks becomes the fallback; line breaks and long gaps, which the provider refuses, become one
# space. A link becomes r/ and twelve random characters.
_FILLED = """
    drawn AS MATERIALIZED (
        SELECT c.*, coalesce(c.time_zone, :default_zone) AS zone, uuidv7() AS message_id,
               draw('holdout', :campaign, c.id) < :holdout AS holdout, draw('variant', :campaign, c.id) AS draw
          FROM contacts c WHERE c.id = ANY(:contacts)),
    armed AS (
        SELECT d.*, a.variant_id, a.template_version_id, a.category, a.mapping
          FROM drawn d
          JOIN (SELECT u.*, u.mapping_text::jsonb AS mapping
                  FROM unnest(:variants, :versions, :categories, :lows, :highs, :mappings)
                    AS u(variant_id, template_version_id, category, low, high, mapping_text)) a
            ON d.draw >= a.low AND d.draw < a.high),
    link AS MATERIALIZED (
        SELECT a.message_id, g.key, g.value->>'link' AS url,
               substr(translate(encode(uuid_send(gen_random_uuid()), 'base64'), '+/=', '-_'), 1, 12) AS code
          FROM armed a CROSS JOIN LATERAL jsonb_each(a.mapping) g WHERE g.value ? 'link'),
    filled AS (
        SELECT a.*, (
            SELECT jsonb_object_agg(g.key, CASE
                WHEN g.value ? 'link' THEN to_jsonb('r/' || (
                    SELECT l.code FROM link l WHERE l.message_id = a.message_id AND l.key = g.key))
                WHEN g.value ? 'source' THEN to_jsonb(coalesce(nullif(trim(regexp_replace(
                    CASE g.value->>'source' WHEN 'contact.name' THEN a.name WHEN 'contact.language' THEN a.language
                         WHEN 'contact.country' THEN a.country
                         ELSE a.attributes->>substr(g.value->>'source', length('contact.attributes.') + 1) END,
                    '\\s+', ' ', 'g')), ''), g.value->>'fallback', ''))
                ELSE coalesce(g.value->'text', g.value->'media_id', g.value->'payload') END)
              FROM jsonb_each(a.mapping) g) AS parameters
          FROM armed a)
"""

_BINDS = (
    bindparam("contacts", type_=ARRAY(Uuid())),
    bindparam("campaign", type_=Uuid()),
    bindparam("holdout", type_=Integer()),
    bindparam("default_zone", type_=Text()),
    bindparam("variants", type_=ARRAY(Uuid())),
    bindparam("versions", type_=ARRAY(Uuid())),
    bindparam("categories", type_=ARRAY(Text())),
    bindparam("lows", type_=ARRAY(Integer())),
    bindparam("highs", type_=ARRAY(Integer())),
    bindparam("mappings", type_=ARRAY(Text())),
)

_PREVIEW = text(
    f"WITH {_FILLED} SELECT id AS contact_id, variant_id, template_version_id, category, country, zone, holdout,"  # noqa: S608 - constants
    " parameters, name FROM filled ORDER BY id"
).bindparams(*_BINDS)

_EXPAND = text(
    f"""
    WITH {_FILLED},
    made AS (
        INSERT INTO messages (id, kind, priority, campaign_id, variant_id, contact_id, sender_id, template_version_id,
                              purpose, category, parameters, country, time_zone, holdout, queued_on, status,
                              skip_reason, not_before)
        SELECT message_id, 'campaign', {PRIORITY[MessageKind.CAMPAIGN]}, :campaign,
               CASE WHEN NOT holdout THEN variant_id END, id, :sender,
               CASE WHEN NOT holdout THEN template_version_id END, :purpose, category,
               CASE WHEN NOT holdout THEN parameters END, country, zone, holdout, (now() AT TIME ZONE 'UTC')::date,
               CASE WHEN holdout THEN 'skipped' ELSE 'queued' END, CASE WHEN holdout THEN 'holdout' END,
               after_quiet_hours(:start, zone, :quiet_from, :quiet_until)
          FROM filled
            ON CONFLICT (campaign_id, contact_id) DO NOTHING
     RETURNING id, holdout)
    INSERT INTO links (code, message_id, button_index, url)
    SELECT l.code, l.message_id, split_part(l.key, '.', 2)::smallint, l.url
      FROM link l JOIN made m ON m.id = l.message_id WHERE NOT m.holdout
    """  # noqa: S608 - constants
).bindparams(
    *_BINDS,
    bindparam("sender", type_=Uuid()),
    bindparam("purpose", type_=Text()),
    bindparam("start", type_=DateTime(timezone=True)),
    bindparam("quiet_from", type_=Time()),
    bindparam("quiet_until", type_=Time()),
)

_TEST = text(
    f"""
    WITH {_FILLED},
    made AS (
        INSERT INTO messages (id, kind, priority, contact_id, sender_id, template_version_id, purpose, category,
                              parameters, country, time_zone, queued_on, status)
        SELECT message_id, 'test', {PRIORITY[MessageKind.TEST]}, id, :sender, template_version_id, :purpose, category,
               parameters, country, zone, (now() AT TIME ZONE 'UTC')::date, 'queued' FROM filled
     RETURNING id)
    , tracked AS (
        INSERT INTO links (code, message_id, button_index, url)
        SELECT l.code, l.message_id, split_part(l.key, '.', 2)::smallint, l.url
          FROM link l JOIN made m ON m.id = l.message_id)
    SELECT id FROM made
    """  # noqa: S608 - constants
).bindparams(*_BINDS, bindparam("sender", type_=Uuid()), bindparam("purpose", type_=Text()))


def _values(
    campaign: Campaign, arms: Sequence[Arm], contacts: Sequence[UUID], default_zone: str, holdout: int
) -> dict[str, Any]:
    total = sum(arm.variant.weight for arm in arms)
    bounds = [0]
    for arm in arms:
        bounds.append(bounds[-1] + arm.variant.weight)
    edges = [BASIS * bound // total for bound in bounds]
    return {
        "contacts": list(contacts),
        "campaign": campaign.id,
        "holdout": holdout,
        "default_zone": default_zone,
        "variants": [arm.variant.id for arm in arms],
        "versions": [arm.variant.template_version_id for arm in arms],
        "categories": [arm.category.value for arm in arms],
        "lows": edges[:-1],
        "highs": edges[1:],
        "mappings": [msgspec.json.encode(arm.variant.parameters).decode() for arm in arms],
    }


async def next_page(session: AsyncSession, audience: Select[UUID], after: UUID | None) -> list[UUID]:
    """The next contacts of the audience, in the order of their ids."""
    people = audience if after is None else audience.where(Contact.id > after)
    return list(await session.scalars(people.order_by(Contact.id).limit(PAGE)))


@dataclass(frozen=True)
class Preview:
    """What one person would get."""

    contact_id: UUID
    variant_id: UUID
    template_version_id: UUID
    category: Category
    country: str | None
    zone: str
    holdout: bool
    parameters: dict[str, Any]
    name: str | None


async def preview(
    session: AsyncSession, campaign: Campaign, arms: Sequence[Arm], contacts: Sequence[UUID], *, default_zone: str
) -> list[Preview]:
    """Fill the campaign's templates for these people without writing anything."""
    rows = await session.execute(_PREVIEW, _values(campaign, arms, contacts, default_zone, campaign.holdout_bp))
    return [
        Preview(
            contact_id=row.contact_id,
            variant_id=row.variant_id,
            template_version_id=row.template_version_id,
            category=Category(row.category),
            country=row.country,
            zone=row.zone,
            holdout=row.holdout,
            parameters=row.parameters or {},
            name=row.name,
        )
        for row in rows
    ]


async def expand(
    session: AsyncSession,
    campaign: Campaign,
    arms: Sequence[Arm],
    contacts: Sequence[UUID],
    *,
    default_zone: str,
    start: datetime,
) -> None:
    """Make these people's rows. Holdouts get one too (`skipped`), so that the audience always adds up."""
    await session.execute(
        _EXPAND,
        {
            **_values(campaign, arms, contacts, default_zone, campaign.holdout_bp),
            "sender": campaign.sender_id,
            "purpose": campaign.purpose,
            "start": start,
            "quiet_from": campaign.quiet_from,
            "quiet_until": campaign.quiet_until,
        },
    )
    if contacts:
        campaign.expand_cursor = contacts[-1]


async def make_test(
    session: AsyncSession, campaign: Campaign, arm: Arm, contact_id: UUID, *, default_zone: str
) -> UUID:
    """A test message of one variant to one contact; it counts in no figure and goes before bulk."""
    values = _values(campaign, [arm], [contact_id], default_zone, 0)
    made = await session.scalar(_TEST, {**values, "sender": campaign.sender_id, "purpose": campaign.purpose})
    if made is None:
        raise RuleViolation("there is no such contact", field="phone")
    queue.ring_after_commit(session, queue.SEND_MESSAGES, campaign.sender_id)
    return UUID(str(made))
