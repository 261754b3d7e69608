"""Where a value is in another system's JSON: `customer.addresses[0].country`; pure.

expression = "=" any text, a constant
           | choice { "|" choice }     the first that is there and not blank
choice     = path { "+" path }         texts joined by a blank, blank ones left out
path       = step { "." step }         step: a name, `["a name with.anything"]`, or a list index `[0]`

A step that does not fit what it meets (a name where there is a list, an index past the end) leads nowhere; no
document makes reading fail.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.errors import RuleViolation

MAX_LENGTH = 500
MAX_STEPS = 20
_STEP = re.compile(r"""(?P<dot>\.)?(?P<name>[^.\[\]|+"'=\s]+)|\[(?P<index>\d{1,4})\]|\["(?P<quoted>[^"\\]{1,200})"\]""")
_ALONE = re.compile(r"""\[\s*"[^"]*"\s*\]|[|+]""")  # a separator inside quotes separates nothing

Path = tuple[str | int, ...]


class Missing:
    """Nothing is at that place; null is something else."""


MISSING: Final = Missing()


@dataclass(frozen=True)
class Expression:
    """What stands on the right of a mapping: a constant, or paths to choose from and to join."""

    constant: str | None
    choices: tuple[tuple[Path, ...], ...] = ()

    def read(self, document: Any) -> Any:
        """The value there, null when only blank ones are, MISSING when the paths lead nowhere."""
        if self.constant is not None:
            return self.constant
        found: Any = MISSING
        for choice in self.choices:
            value = walk(document, choice[0]) if len(choice) == 1 else _joined(document, choice)
            if not _blank(value):
                return value
            found = None if value is not MISSING else found
        return found


def parse(text: str, *, place: str) -> Expression:
    """Raises RuleViolation, naming `place`, for what is no expression."""
    text = text.strip()
    if not text or len(text) > MAX_LENGTH:
        raise RuleViolation(f"{place}: write a path of 1 to {MAX_LENGTH} characters", field=place)
    if text.startswith("="):
        return Expression(text[1:].strip())
    choices = [_split(choice, "+") for choice in _split(text, "|")]
    return Expression(None, tuple(tuple(parse_path(path, place=place) for path in choice) for choice in choices))


def parse_path(text: str, *, place: str) -> Path:
    """One path; raises RuleViolation."""
    text, steps, at = text.strip(), list[str | int](), 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (bool(found["dot"]) == (at == 0) and found["name"]):
            break
        index, name = found["index"], found["name"] or found["quoted"]
        steps.append(int(index) if index is not None else name)
        at = found.end()
    if at < len(text) or not steps or len(steps) > MAX_STEPS:
        raise RuleViolation(
            f"{place}: this is no path. Write one such as customer.addresses[0].country, or =DE for a constant",
            field=place,
        )
    return tuple(steps)


def walk(document: Any, path: Path) -> Any:
    """What is at the end of the path, or MISSING."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return MISSING
            document = document[step]
        else:
            if not isinstance(document, dict) or step not in document:
                return MISSING
            document = document[step]
    return document


def _split(text: str, mark: str) -> list[str]:
    parts, start = list[str](), 0
    for found in _ALONE.finditer(text):
        if found[0] == mark:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _blank(value: Any) -> bool:
    return value is MISSING or value is None or (isinstance(value, str) and not value.strip())


def _joined(document: Any, paths: Sequence[Path]) -> Any:
    values = [walk(document, path) for path in paths]
    if all(value is MISSING for value in values):
        return MISSING
    texts = [str(v).strip() for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)]
    return " ".join(text for text in texts if text) or None
