"""Filter tree → SQLAlchemy predicate over contacts; pure. However deep the tree, it is one statement.

{"all": [rule, …]} | {"any": [rule, …]} | {"not": rule}
{"field": "country", "op": "in", "value": ["BR", "DE"]}     fields of the contact, or attributes.NAME
{"tag": "vip"} | {"tag": ["vip", "press"]}                  has the tag, or one of them
{"consent": "marketing", "state": "withdrawn"}              subscribed unless another state is named; as the cache knows
{"did": "clicked", "within_days": 30, "at_least": 2, …}     what they did or got; see `core.audience_deeds`
{"audience": id} | {"import": id}                           members of another audience, rows of an import

Exclusion lists are {"not": {"audience": id}}.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Exists, and_, exists, false, func, not_, or_, select, true

from core.attributes import Definition
from core.audience_deeds import KEYS as DEED_KEYS
from core.audience_deeds import deed
from core.audience_fields import comparison
from core.consent.state import State
from core.errors import RuleViolation
from core.models import AudienceMember, ConsentState, Contact, ImportRow

Rule = Mapping[str, Any]
MAX_DEPTH = 10
MAX_RULES = 200
MAX_TAGS = 100


def compile_rule(rule: Rule, definitions: Mapping[str, Definition] | None = None) -> ColumnElement[bool]:
    """The rule as a predicate on `contacts`, living people only; raises RuleViolation naming the place.

    With `definitions`, values are held against the kinds of the attributes too.
    """
    compiled = _Compiler(definitions or {}).compile(rule, "rule", 0)
    return and_(Contact.erased_at.is_(None), Contact.closed_at.is_(None), compiled)


class _Compiler:
    """Counts the conditions of one tree while it is compiled."""

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        self.definitions = definitions
        self.seen = 0

    def compile(self, rule: Any, place: str, depth: int) -> ColumnElement[bool]:
        self.seen += 1
        if not isinstance(rule, Mapping):
            raise RuleViolation(f"{place} must be an object", field=place)
        if depth > MAX_DEPTH or self.seen > MAX_RULES:
            raise RuleViolation(f"{place} is nested too deeply or too long", field=place)
        keys = set(rule)
        if keys in ({"all"}, {"any"}):
            return self._joined(next(iter(keys)), rule, place, depth)
        if keys == {"not"}:
            inner = self.compile(rule["not"], f"{place}.not", depth + 1)
            # Unknown is not so; an EXISTS is never unknown, and as it stands PostgreSQL can join by it.
            return not_(inner if isinstance(inner, Exists) else func.coalesce(inner, false()))
        return self._leaf(rule, keys, place)

    def _joined(self, word: str, rule: Rule, place: str, depth: int) -> ColumnElement[bool]:
        parts = rule[word]
        if not isinstance(parts, list):
            raise RuleViolation(f"{place}.{word} must be a list", field=f"{place}.{word}")
        compiled = [self.compile(part, f"{place}.{word}[{at}]", depth + 1) for at, part in enumerate(parts)]
        return and_(true(), *compiled) if word == "all" else or_(false(), *compiled)

    def _leaf(self, rule: Rule, keys: set[str], place: str) -> ColumnElement[bool]:
        if {"consent"} <= keys <= {"consent", "state"}:
            return _consent(rule, place)
        if keys == {"tag"}:
            return _tagged(rule["tag"], place)
        if keys == {"audience"}:
            member = AudienceMember.audience_id == as_id(rule["audience"], place)
            return exists(select(1).where(member, AudienceMember.contact_id == Contact.id))
        if keys == {"import"}:
            row = ImportRow.import_id == as_id(rule["import"], place)
            return Contact.id.in_(select(ImportRow.contact_id).where(row, ImportRow.contact_id.is_not(None)))
        if "did" in keys and keys <= DEED_KEYS:
            return deed(rule, place)
        if {"field", "op"} <= keys <= {"field", "op", "value"}:
            return comparison(rule, place, self.definitions)
        raise RuleViolation(f"{place} has unknown keys {sorted(keys)}", field=place)


def _consent(rule: Rule, place: str) -> ColumnElement[bool]:
    purpose, word = rule["consent"], rule.get("state", State.SUBSCRIBED.value)
    if not isinstance(purpose, str):
        raise RuleViolation(f"{place}.consent must name a purpose", field=f"{place}.consent")
    if not isinstance(word, str) or word not in set(State):
        known = ", ".join(State)
        raise RuleViolation(f"{place}.state must be one of {known}", field=f"{place}.state")
    of_person = (ConsentState.contact_id == Contact.id, ConsentState.purpose == purpose)
    if word == State.NONE:
        return not_(exists(select(1).where(*of_person, ConsentState.state != State.NONE)))
    said = [*of_person, ConsentState.state == word]
    if word == State.SUBSCRIBED:
        said.append(or_(ConsentState.expires_at.is_(None), ConsentState.expires_at > func.now()))
    return exists(select(1).where(*said))


def _tagged(given: Any, place: str) -> ColumnElement[bool]:
    tags = [given] if isinstance(given, str) else given
    if not isinstance(tags, list) or not tags or len(tags) > MAX_TAGS or not all(isinstance(t, str) for t in tags):
        raise RuleViolation(f"{place}.tag must be a text or a list of texts", field=f"{place}.tag")
    found: ColumnElement[bool] = Contact.tags.overlap(tags)
    return found


def as_id(value: Any, place: str) -> UUID:
    """The id in a rule; raises RuleViolation."""
    try:
        return UUID(str(value))
    except ValueError as wrong:
        raise RuleViolation(f"{place} must name an id", field=place) from wrong


def references(rule: Any) -> set[UUID]:
    """Audiences a rule that compiles refers to."""
    if isinstance(rule, list):
        return set().union(*(references(part) for part in rule))
    if isinstance(rule, Mapping):
        if set(rule) == {"audience"}:
            return {UUID(str(rule["audience"]))}
        return set().union(*(references(part) for part in rule.values()))
    return set()


def places(rule: Any, place: str = "rule") -> list[tuple[UUID, str]]:
    """Audiences a rule that compiles refers to, each with the place where it is named."""
    if not isinstance(rule, Mapping):
        return []
    if set(rule) == {"audience"}:
        return [(UUID(str(rule["audience"])), place)]
    found = places(rule.get("not"), f"{place}.not")
    for word in ("all", "any"):
        for at, part in enumerate(rule.get(word) or ()):
            found += places(part, f"{place}.{word}[{at}]")
    return found


def with_rules(rule: Any, rules: Mapping[UUID, Rule]) -> Any:
    """The tree with the rules of other rule audiences in place of their names; lists stay names."""
    if isinstance(rule, list):
        return [with_rules(part, rules) for part in rule]
    if isinstance(rule, Mapping):
        if set(rule) == {"audience"} and (named := rules.get(UUID(str(rule["audience"])))) is not None:
            return dict(named)
        return {key: with_rules(part, rules) if key in ("all", "any", "not") else part for key, part in rule.items()}
    return rule
