"""What a validator says about a request, as sentences for people; pure.

The validator is msgspec's, whose messages name Python types and regular expressions.
"""

import re

from msgspec import Struct

from api.bodies import OWN_WORDS
from core.shapes import COUNTRY, CURRENCY

# Texts described by a pattern, and what they look like: the pattern itself tells a person little.
# `(?!\n)$` because a bare $ also matches before a line break at the end.
DIGITS = r"^[0-9]{1,32}(?!\n)$"
SPELLED_NUMBER = r"^[0-9 ()+./-]{6,30}(?!\n)$"
LANGUAGE = r"^[a-z]{2,3}(_[A-Z]{2})?(?!\n)$"
WORDS = r"\S"
LOCAL_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$"
_LOOKS = {
    COUNTRY: "a country's two capital letters, such as DE",
    CURRENCY: "a currency's three capital letters, such as EUR",
    DIGITS: "1 to 32 digits",
    SPELLED_NUMBER: "a phone number with its country's prefix, such as +49 30 1234567",
    LANGUAGE: "a language code, such as en or pt_BR",
    WORDS: "words, not only blanks",
    LOCAL_TIME: "a time of day such as 21:00",
}
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "uuid": "an id",
    "datetime": "a time",
    "date": "a date",
}
_KINDS_GOT = {**_KINDS, "float": "a fraction"}
_LENGTH = re.compile(r"Expected `(\w+)` of length (<=|>=) (\d+)")
_BOUND = re.compile(r"Expected `(\w+)` (<=|>=) (-?[\d.]+)")
_TYPE = re.compile(r"Expected `([^`]+)`(?:, got `(\w+)`)?")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `([^`]*)`")
_PARAMETER = re.compile(r"Missing required \w+ parameter '([^']+)'")
_ENUM = re.compile(r"Invalid enum value '?([^']*)")
_PATTERN = re.compile(r"matching regex '(.*?)'?$")


class FieldError(Struct):
    """Where a request is wrong, and a sentence that names the place and says what it should be."""

    field: str
    message: str


def _sentence(message: str) -> str:
    """A validator's message as what follows the field's name, such as `needs a whole number`."""
    if found := _PATTERN.search(message):
        written = found[1].replace("\\\\", "\\")
        return f"needs {_LOOKS[written]}" if written in _LOOKS else "is not written as it should be"
    if found := _LENGTH.search(message):
        unit = "characters" if found[1] == "str" else "items"
        return f"has {found[3]} {unit} at {'most' if found[2] == '<=' else 'least'}"
    if found := _BOUND.search(message):
        return f"is {found[3]} at {'most' if found[2] == '<=' else 'least'}"
    if found := _TYPE.search(message):
        wanted = " or ".join(_KINDS.get(kind.strip(), kind.strip()) for kind in found[1].split("|"))
        return f"needs {wanted}" + (f", not {_KINDS_GOT.get(found[2], found[2])}" if found[2] else "")
    if found := _ENUM.search(message):
        return f"does not take {found[1][:50]!r}; /docs lists what it takes"
    if "UUID" in message:
        return "needs an id such as 01890a5d-ac96-774b-bcce-b302099a8057"
    if "datetime" in message:
        return "needs a time with its zone, such as 2026-05-01T09:30:00Z"
    if "date" in message:
        return "needs a date such as 2026-05-01"
    if "Number out of range" in message:
        return "holds a number that is out of range"
    if "Unsupported type" in message:
        return "needs a file with its name"
    return message[:1].lower() + message[1:] or "is not right"


def field_error(key: str, message: str) -> FieldError:
    """One refusal of a validator: the path of the field, and a sentence about it."""
    path = "" if key in ("data", "body") or key.startswith("[...]") else key.removeprefix("data.")
    if found := _PARAMETER.search(message):
        return FieldError(found[1], f"{found[1]} is missing from the address's query")
    if message == "'data'":
        return FieldError("body", "the body is empty: send a JSON object")
    message = message.partition(" - at `$")[0]
    if found := _NAMED.search(message):
        name = f"{path}.{found[2]}" if path else found[2]
        return FieldError(
            name, f"{name} is {'unknown: leave it out' if found[1].startswith('contains') else 'missing'}"
        )
    name = path or "the body"
    return FieldError(path or "body", f"{name} {_sentence(message)}")


_PLACE = re.compile(r" - at `\$\.?([^`]*)`")


def decoding_error(message: str, *, field: str = "body") -> FieldError:
    """A decoder's refusal: of broken JSON, or of a part of it under `field`."""
    if found := _PLACE.search(message):
        return field_error(f"{field}.{found[1]}" if field != "body" else found[1], message)
    if message.startswith(("JSON is malformed", "Input data was truncated")):
        name = "the body" if field == "body" else field
        return FieldError(field, f"{name} is no JSON: it breaks off or has a character out of place")
    if message.startswith(OWN_WORDS):
        return FieldError(field, message)
    return field_error(field, message)
