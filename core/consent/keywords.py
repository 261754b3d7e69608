"""What an inbound text means for consent: normalisation, then tiers of certainty; pure.

T1 the whole message is a stop word, T2 with courtesy around it, T3 with messages as its object: withdrawn.
T4 a phrase that means the same: withdrawn. A stop word with anything else is ambiguous: a pause and a question.
Opposites are one letter apart in several languages (abmelden, anmelden), so there is no fuzzy matching.
Words marked ~ in the table are weak: they act only as the whole message, in their own language.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.statuses import InboundIntent

_TABLE: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
NORMALISATION = "1"
KEYWORDS = f"{_TABLE['version']}.{NORMALISATION}"  # version of the table and of the normalisation
_LONGEST = 400  # characters looked at: an opt-out stands at the front of a message
MARKETING = "marketing.*"  # what a stop word ends
EVERYTHING = (MARKETING, "transactional.*")  # what STOP ALL ends; answers to a person's own questions stay possible

_REMOVED = re.compile("[\u00ad\u0640\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]")
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc\u0060\u00b4\uff07]")
_ARABIC = str.maketrans(
    {"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ة": "ه", "ک": "ك", "ی": "ي", "ئ": "ي", "ؤ": "و"}
)
_TURKISH = str.maketrans({"İ": "i", "I": "i", "ı": "i"})
_STRIPPED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW")
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff々ー"
_GAP = re.compile(rf"(?<=[{_UNSPACED}]) (?=[{_UNSPACED}])")
_RUN = re.compile(r"(\w)\1{2,}")
_SPELLED = re.compile(r"(?<!\w)\w(?: \w){2,}(?!\w)")
_LOOKALIKES = str.maketrans(
    "авеёкмнорстухіѕјԁαβεηικμνορτυχ",
    "abeekmhopctyxisjdabenikmvoptux",
)


@dataclass(frozen=True, slots=True)
class Keyword:
    """The meaning found: `tier` is T1 to T4, START, HELP or HOLD; empty for an ordinary reply."""

    intent: InboundIntent
    tier: str = ""
    entry: str | None = None  # the table's word
    language: str | None = None
    scopes: tuple[str, ...] = ()  # what an opt-out ends


@dataclass(frozen=True, slots=True)
class _Entry:
    word: str
    language: str
    is_weak: bool


@dataclass(frozen=True, slots=True)
class _Table:
    """The table, normalised: entry by text, and the words that may stand around an entry."""

    stops: Mapping[str, _Entry]
    starts: Mapping[str, _Entry]
    helps: Mapping[str, _Entry]
    skeletons: Mapping[str, _Entry]  # strong stop words, look-alike letters folded
    fillers: tuple[str, ...]  # longest first, as are the objects
    objects: tuple[str, ...]
    negations: frozenset[str]
    suffixes: tuple[str, ...]
    phrases: Mapping[str, _Entry]
    holds: tuple[str, ...]
    emoji: frozenset[str]
    yes: frozenset[str]
    everything: frozenset[str]  # entries that end more than marketing
    buttons: frozenset[str]


def normalise(text: str) -> str:
    """Lower-case words parted by single spaces, without marks, punctuation, hidden characters or script variants."""
    text = _REMOVED.sub("", unicodedata.normalize("NFKC", text[:_LONGEST]))
    text = unicodedata.normalize("NFKC", text.translate(_TURKISH).casefold())
    text = _APOSTROPHES.sub("", _without_marks(text).translate(_ARABIC))
    text = "".join(_hiragana(character) if _is_word(character) else " " for character in text)
    text = " ".join(text.split())
    text = _GAP.sub("", text)
    text = _RUN.sub(r"\1\1", text)
    return _SPELLED.sub(lambda found: found[0].replace(" ", ""), text)


def _without_marks(text: str) -> str:
    """Combining marks go only where they are accents or optional vowels; elsewhere they are letters."""
    kept: list[str] = []
    base = ""
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.combining(character) or unicodedata.category(character) == "Mn":
            if base.startswith(_STRIPPED_SCRIPTS):
                continue
        else:
            base = unicodedata.name(character, "")
        kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _hiragana(character: str) -> str:
    return chr(ord(character) - 0x60) if "ァ" <= character <= "ヶ" else character


def _skeleton(text: str) -> str:
    return text.translate(_LOOKALIKES)


def _entries(source: Mapping[str, Any], kind: str) -> Iterator[_Entry]:
    for language, words in source["languages"].items():
        for word in words.get(kind, ()):
            yield _Entry(word.removeprefix("~"), language, word.startswith("~"))


def _by_text(entries: Iterable[_Entry]) -> dict[str, _Entry]:
    """Entries by normalised text, spaced and unspaced, the longest first; a strong entry goes before a weak one."""
    found: dict[str, _Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.is_weak):
        text = normalise(entry.word)
        for form in (text, text.replace(" ", "")):
            found.setdefault(form, entry)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _around(source: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    words = {normalise(entry.word) for entry in _entries(source, kind)}
    return tuple(sorted(words, key=lambda word: (-len(word), word)))


@cache
def table() -> _Table:
    """The table in force, built once."""
    return build(_TABLE)


def build(source: Mapping[str, Any]) -> _Table:
    """A table out of its words; raises ValueError when a text would mean two opposite things."""
    stops, anywhere = _by_text(_entries(source, "stop")), source["anywhere"]
    strong = {text: entry for text, entry in stops.items() if not entry.is_weak}
    listed = [*_entries(source, "phrase"), *(_Entry(phrase, "en", is_weak=False) for phrase in anywhere["phrase"])]
    built = _Table(
        stops=stops,
        starts=_by_text(_entries(source, "start")),
        helps=_by_text(_entries(source, "help")),
        skeletons={_skeleton(text): entry for text, entry in strong.items()},
        fillers=_around(source, "filler"),
        objects=_around(source, "object"),
        negations=frozenset(_around(source, "negation")),
        suffixes=_around(source, "suffix"),
        phrases=_by_text(listed),
        holds=tuple(normalise(phrase) for phrase in anywhere["hold"]),
        emoji=frozenset(anywhere["stop_emoji"]),
        yes=frozenset(_around(source, "yes")),
        everything=frozenset(anywhere["everything"]),
        buttons=frozenset(anywhere["buttons"]),
    )
    if clash := collisions(built):
        raise ValueError(f"these words mean two opposite things: {', '.join(sorted(clash))}")
    return built


def collisions(words: _Table) -> set[str]:
    """Texts that mean two opposite things, or help and stop; must be empty."""
    others = words.starts.keys() | words.helps.keys()
    strong_skeletons = {_skeleton(text) for text in others | words.yes} & words.skeletons.keys()
    stopping = words.stops.keys() & (others | words.yes)
    return stopping | (words.starts.keys() & words.helps.keys()) | strong_skeletons


def classify(text: str, *, language: str | None = None, purposes: Mapping[str, str] | None = None) -> Keyword:
    """What a text means. `language` (BCP 47) is the contact's: weak words need it, strong ones act in any.

    `purposes` are words that narrow a stop to one purpose (`{"events": "marketing.events"}`): STOP EVENTS.
    """
    spoken = (language or "").split("-")[0].lower()
    if narrowed := _narrowed(normalise(text), purposes or {}):
        return narrowed
    whole = _classify(normalise(text), spoken)
    if "\n" in text.strip() and whole.intent in (InboundIntent.REPLY, InboundIntent.AMBIGUOUS):
        first = _classify(normalise(text.strip().split("\n", 1)[0]), spoken)  # a signature follows
        whole = first if first.tier in ("T1", "T2", "START", "HELP") else whole
    if whole.intent is InboundIntent.REPLY and _RUN.search(text):
        drawn_out = _classify(normalise(_RUN.sub(r"\1", text)), spoken)  # stooop
        whole = drawn_out if drawn_out.tier in ("T1", "T2") else whole
    if whole.intent is InboundIntent.REPLY and any(emoji in text for emoji in table().emoji):
        return Keyword(InboundIntent.AMBIGUOUS, "HOLD", next(e for e in sorted(table().emoji) if e in text))
    return whole


def classify_payload(payload: str) -> str | None:
    """The scope a button's payload withdraws: `optout:marketing` → `marketing`, `optout` → `marketing.*`."""
    name, _, scope = payload.partition(":")
    return (scope or MARKETING) if name in table().buttons else None


def is_yes(text: str) -> bool:
    """Whether a text agrees: it counts only as the answer to a question we asked."""
    said = normalise(text)
    return said in table().yes or _without(said, table().fillers) in table().yes


def _narrowed(text: str, purposes: Mapping[str, str]) -> Keyword | None:
    """A strong stop word beside the word of a purpose, and nothing else but courtesy."""
    words = table()
    bare = _without(text, words.fillers)
    for word, code in purposes.items():
        named = normalise(word)
        for form in (bare.removeprefix(f"{named} "), bare.removesuffix(f" {named}")):
            entry = words.stops.get(form) if form != bare else None
            if entry is not None and not entry.is_weak:
                return Keyword(InboundIntent.OPT_OUT, "T3", entry.word, entry.language, (code,))
    return None


def _classify(text: str, spoken: str) -> Keyword:
    words = table()
    if not text:
        return Keyword(InboundIntent.REPLY)
    for form in dict.fromkeys((text, text.replace(" ", ""))):
        if entry := words.stops.get(form):
            return _stopped(entry, "T1", spoken)
        if entry := words.starts.get(form):
            return Keyword(InboundIntent.OPT_IN, "START", entry.word, entry.language)
        if entry := words.helps.get(form):
            return Keyword(InboundIntent.HELP, "HELP", entry.word, entry.language)
    if entry := words.skeletons.get(_skeleton(text)):
        return _stopped(entry, "T1", spoken)
    return _with_courtesy(text, spoken) or _in_sentence(text) or Keyword(InboundIntent.REPLY)


def _stopped(entry: _Entry, tier: str, spoken: str) -> Keyword:
    if entry.is_weak and entry.language != spoken:
        return Keyword(InboundIntent.AMBIGUOUS, "HOLD", entry.word, entry.language)
    return _opt_out(tier, entry)


def _opt_out(tier: str, entry: _Entry) -> Keyword:
    scopes = EVERYTHING if entry.word in table().everything else (MARKETING,)
    return Keyword(InboundIntent.OPT_OUT, tier, entry.word, entry.language, scopes)


def _with_courtesy(text: str, spoken: str) -> Keyword | None:
    """T2: an entry and nothing but courtesy, or a polite ending in languages without spaces."""
    words = table()
    for suffix in words.suffixes:
        if text.endswith(suffix) and (entry := words.stops.get(text[: -len(suffix)].strip())) and not entry.is_weak:
            return _stopped(entry, "T2", spoken)
    bare = " ".join(dict.fromkeys(_without(text, words.fillers).split()))  # stop stop
    if bare != text and (entry := words.stops.get(bare)):
        return _stopped(entry, "T2", spoken)
    return None


def _without(text: str, fillers: Iterable[str]) -> str:
    """The text without the words and phrases given (longest first), wherever they stand."""
    padded = f" {text} "
    for filler in fillers:
        while f" {filler} " in padded:
            padded = padded.replace(f" {filler} ", " ")
    return " ".join(padded.split())


def _in_sentence(text: str) -> Keyword | None:
    """T3 and T4, and what is only ambiguous: a strong entry inside a longer text."""
    words = table()
    padded = f" {text} "
    for phrase, entry in words.phrases.items():
        if _holds_text(padded, phrase):
            return _opt_out("T4", entry)
    for stop, entry in words.stops.items():
        if entry.is_weak or not _holds_text(padded, stop):
            continue
        before, after = (part.strip() for part in padded.split(stop, 1))
        negated = any(word in words.negations for word in before.split())
        rest = _without(after, words.fillers)
        if not negated and not _without(before, words.fillers) and not _without(rest, words.objects):
            return _opt_out("T3", entry)
        return Keyword(InboundIntent.AMBIGUOUS, "HOLD", entry.word, entry.language)
    for phrase in words.holds:
        if _holds_text(padded, phrase):
            return Keyword(InboundIntent.AMBIGUOUS, "HOLD", phrase, "en")
    return None


def _holds_text(padded: str, phrase: str) -> bool:
    """Whether the phrase stands in the text: between spaces, or anywhere in scripts written without them."""
    if re.search(f"[{_UNSPACED}가-힣]", phrase):
        return phrase in padded
    return f" {phrase} " in padded
