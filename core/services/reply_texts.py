"""The wording of automatic answers: built in for some languages, and the organisation's own where it wrote one."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.errors import RuleViolation
from core.models import ReplyText
from core.statuses import ReplyKind

_BUILT_IN: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
FALLBACK = "en"
EDITABLE: tuple[ReplyKind, ...] = tuple(kind for kind in ReplyKind if kind not in (ReplyKind.RULE, ReplyKind.PERSON))
HOLES: Mapping[ReplyKind, frozenset[str]] = {
    **dict.fromkeys(EDITABLE, frozenset({"brand"})),
    ReplyKind.STOP_CONFIRMED: frozenset({"brand", "what"}),
    ReplyKind.NOTICE_OFFER: frozenset({"brand", "notice", "withdrawal"}),
    ReplyKind.FORM_CONFIRMED: frozenset({"brand", "what"}),
}
NEEDED: Mapping[ReplyKind, frozenset[str]] = {
    ReplyKind.STOP_CONFIRMED: frozenset({"what"}),
    ReplyKind.NOTICE_OFFER: frozenset({"notice"}),
    ReplyKind.FORM_CONFIRMED: frozenset({"brand", "what"}),
}
MOST_CHARACTERS = 1000  # the provider allows 1,024 beside buttons; what is filled in needs some of them
MOST_ON_A_BUTTON = 20
_HOLE = re.compile(r"\{(\w*)\}")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)


@dataclass(frozen=True)
class Wording:
    """What an automatic answer says; `is_own` where the organisation wrote it."""

    kind: ReplyKind
    language: str
    body: str
    buttons: tuple[str, ...]
    is_own: bool = False

    def filled(self, **values: str) -> str:
        """The body with its holes filled; what is filled in is not looked at again."""
        return _HOLE.sub(lambda found: values.get(found[1], ""), self.body)


def languages() -> list[str]:
    """Languages with a built-in wording of everything; those of stops are in every language a stop is understood in."""
    return sorted(language for language, kinds in _BUILT_IN.items() if set(EDITABLE) <= set(kinds))


def spoken(language: str | None) -> str:
    """The first part of a language tag, as wordings are kept: `pt_BR` → `pt`."""
    return re.split("[-_]", language or "")[0].lower()


def scope_words(scopes: Sequence[str], language: str, described: Mapping[str, Mapping[str, str]]) -> str:
    """What a stop ended, in words; `described` is purpose → language → its description."""
    words = _BUILT_IN.get(language, _BUILT_IN[FALLBACK])["scopes"]
    if len(scopes) > 1:
        return str(words["everything"])
    known = described.get(scopes[0]) if scopes and scopes[0] != "marketing" else None
    if known:
        return known.get(language) or known.get(FALLBACK) or next(iter(known.values()))
    return str(words["marketing"])


async def wording(session: AsyncSession, kind: ReplyKind, tried: Sequence[str | None]) -> Wording:
    """The wording in the first language of `tried` that has one, else in English; the organisation's own goes first."""
    wanted = [*dict.fromkeys(spoken(each) for each in tried if each), FALLBACK]
    rows = await session.scalars(select(ReplyText).where(ReplyText.kind == kind, ReplyText.language.in_(wanted)))
    own = {row.language: row for row in rows}
    for language in wanted:
        if (row := own.get(language)) is not None:
            return Wording(kind, language, row.body, tuple(row.buttons), is_own=True)
        if kind in _BUILT_IN.get(language, ()):
            return _built_in(kind, language)
    raise AssertionError("there is an English wording of everything")


def _built_in(kind: ReplyKind, language: str) -> Wording:
    known = _BUILT_IN[language][kind]
    return Wording(kind, language, known["body"], tuple(known.get("buttons", ())))


async def list_wordings(session: AsyncSession) -> list[Wording]:
    """Every wording there is: the organisation's own in place of the built-in ones, by kind and language."""
    found: dict[tuple[ReplyKind, str], Wording] = {
        (kind, language): _built_in(kind, language)
        for kind in EDITABLE
        for language in _BUILT_IN
        if kind in _BUILT_IN[language]
    }
    for row in await session.scalars(select(ReplyText)):
        found[row.kind, row.language] = Wording(row.kind, row.language, row.body, tuple(row.buttons), is_own=True)
    return [found[key] for key in sorted(found)]


async def put(session: AsyncSession, kind: ReplyKind, language: str, body: str, buttons: Sequence[str]) -> Wording:
    """The organisation's own wording; raises RuleViolation for one that could not be sent or says too little."""
    _check(kind, language, body, buttons)
    values = {"body": body.strip(), "buttons": [label.strip() for label in buttons]}
    statement = insert(ReplyText).values(kind=kind, language=language, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["kind", "language"], set_=values))
    return Wording(kind, language, body.strip(), tuple(label.strip() for label in buttons), is_own=True)


async def reset(session: AsyncSession, kind: ReplyKind, language: str) -> None:
    """Back to the built-in wording."""
    await session.execute(delete(ReplyText).where(ReplyText.kind == kind, ReplyText.language == language))


def _check(kind: ReplyKind, language: str, body: str, buttons: Sequence[str]) -> None:
    if kind not in EDITABLE:
        raise RuleViolation(f"{kind} has no wording of its own", field="kind")
    if not re.fullmatch("[a-z]{2,3}", language):
        raise RuleViolation("the language is its first part alone, such as pt", field="language")
    if not body.strip() or len(body) > MOST_CHARACTERS:
        raise RuleViolation(f"a wording has 1 to {MOST_CHARACTERS} characters", field="body")
    holes = set(_HOLE.findall(body))
    if unknown := holes - HOLES[kind]:
        allowed = ", ".join(f"{{{name}}}" for name in sorted(HOLES[kind]))
        raise RuleViolation(f"{{{min(unknown)}}} means nothing here: use {allowed}", field="body")
    if missing := NEEDED.get(kind, frozenset()) - holes:
        raise RuleViolation(f"this wording has to hold {{{min(missing)}}}", field="body")
    if kind is ReplyKind.STOP_CONFIRMED and _LINK.search(body):
        raise RuleViolation("the confirmation of a stop holds no link: it may not promote anything", field="body")
    wanted = len(_built_in(kind, FALLBACK).buttons)
    labels = [label.strip() for label in buttons]
    if len(labels) != wanted or len(set(labels)) != wanted:
        what = f"{wanted} different buttons" if wanted else "no buttons"
        raise RuleViolation(f"this answer has {what}", field="buttons")
    if any(not 1 <= len(label) <= MOST_ON_A_BUTTON for label in labels):
        raise RuleViolation(f"a button's label has 1 to {MOST_ON_A_BUTTON} characters", field="buttons")
