"""Filling: who gets which variant, and what stands in its placeholders, as one query over any people.

Expansion, review and test sends use the same query, so what was looked at is what goes out. Who gets what follows
from the ids alone: asked again after a crash it says the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, Text, Uuid, case, cast, false, func, literal, null, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.errors import RuleViolation
from core.models import CampaignVariant, Contact
from core.statuses import Category
from core.template import Placeholder

BASIS = 10_000
CODE_LENGTH = 12  # of a tracked link
LINK_PREFIX = "r/"
ATTRIBUTE_SOURCE = "contact.attributes."
VALUE_KINDS = frozenset({"text", "source", "media_id", "link", "payload"})
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "contact.name": Contact.name.expression,
    "contact.language": Contact.language.expression,
    "contact.country": Contact.country.expression,
}


@dataclass(frozen=True)
class Arm:
    """A variant with what its rows need."""

    variant: CampaignVariant
    category: Category
    holes: list[Placeholder]

    def links(self) -> dict[int, str]:
        """Button index → the address its tracked link leads to."""
        given = self.variant.parameters
        return {int(key.split(".")[1]): value["link"] for key, value in given.items() if "link" in value}


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
        if source not in _COLUMNS and (not source.startswith(ATTRIBUTE_SOURCE) or source == ATTRIBUTE_SOURCE):
            return f"has an unknown source {source!r}"
    return None


def filled(
    campaign_id: UUID, arms: Sequence[Arm], people: ColumnElement[bool], *, holdout_bp: int, default_zone: str
) -> Select[Any]:
    """One row per contact that `people` (a condition on `contacts`) holds for.

    Columns: contact_id, name, country, zone, holdout, variant_id, template_version_id, category, parameters; without
    an order. A person's draw is 0 … 9,999, uniform and fixed by campaign and contact.
    """
    held = func.draw("holdout", campaign_id, Contact.id) < holdout_bp if holdout_bp else false()
    chosen = select(
        Contact.id.label("contact_id"),
        Contact.name,
        Contact.country,
        Contact.language,
        Contact.attributes,
        func.coalesce(Contact.time_zone, default_zone).label("zone"),
        held.label("holdout"),
        _arm_of(campaign_id, arms).label("arm"),
    ).where(people)
    drawn = chosen.offset(0).subquery("drawn")  # OFFSET keeps the planner from working out each draw several times
    person = {"contact.name": drawn.c.name, "contact.language": drawn.c.language, "contact.country": drawn.c.country}

    def of_arm(values: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
        if len(values) == 1:
            return values[0]
        return case(*((drawn.c.arm == place, value) for place, value in enumerate(values)))

    return select(
        drawn.c.contact_id,
        drawn.c.name,
        drawn.c.country,
        drawn.c.zone,
        drawn.c.holdout,
        of_arm([cast(arm.variant.id, Uuid()) for arm in arms]).label("variant_id"),
        of_arm([cast(arm.variant.template_version_id, Uuid()) for arm in arms]).label("template_version_id"),
        of_arm([literal(arm.category.value, Text) for arm in arms]).label("category"),
        of_arm([_parameters(arm.variant.parameters, person, drawn.c.attributes) for arm in arms]).label("parameters"),
    )


def _arm_of(campaign_id: UUID, arms: Sequence[Arm]) -> ColumnElement[int]:
    """The place of the contact's variant among the arms, by weight."""
    if len(arms) == 1:
        return literal(0, Integer)
    total = sum(arm.variant.weight for arm in arms)
    edges, below = [], 0
    for arm in arms:
        below += arm.variant.weight
        edges.append(BASIS * below // total)
    return func.width_bucket(func.draw("variant", campaign_id, Contact.id), cast(edges, ARRAY(Integer)))


def _parameters(
    given: dict[str, Any], person: Mapping[str, ColumnElement[Any]], attributes: ColumnElement[Any]
) -> ColumnElement[Any]:
    if not given:
        return null()
    pairs = [part for key, value in given.items() for part in (literal(key, Text), _value(value, person, attributes))]
    return func.jsonb_build_object(*pairs)


def _value(
    value: dict[str, Any], person: Mapping[str, ColumnElement[Any]], attributes: ColumnElement[Any]
) -> ColumnElement[str]:
    """A value the contact lacks becomes the fallback; a link becomes r/ and random characters."""
    if "link" in value:
        return literal(LINK_PREFIX, Text) + _code()
    if "source" in value:
        source = str(value["source"])
        known = person.get(source)
        if known is None:
            known = cast(attributes, JSONB)[source.removeprefix(ATTRIBUTE_SOURCE)].astext
        # Line breaks and long gaps, which the provider refuses, become one space.
        one_line = func.trim(func.regexp_replace(known, r"\s+", " ", "g"))
        return func.coalesce(func.nullif(one_line, ""), literal(value.get("fallback") or "", Text))
    text = value.get("text", value.get("media_id", value.get("payload")))
    return literal(text, Text)


def _code() -> ColumnElement[str]:
    random_bytes = func.encode(func.uuid_send(func.gen_random_uuid()), "base64")
    return func.substr(func.translate(random_bytes, "+/=", "-_"), 1, CODE_LENGTH)
