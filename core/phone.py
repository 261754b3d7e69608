"""Phone numbers: E.164 parsing, the spellings that reach the same account, masking; pure.

Parsing is libphonenumber's (the `phonenumbers` package). It knows current numbering plans only, while WhatsApp
accounts keep older spellings alive, so the plans that changed under existing accounts are unified here first.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import ClassVar

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, ValidationResult
from phonenumbers.timezone import time_zones_for_number
from phonenumbers.tzdata import TIMEZONE_DATA

from core.errors import RuleViolation

EQUIVALENCES = "1"  # version of the rules below; part of the consent policy's hash


class PhoneFault(StrEnum):
    """Why a text is not a phone number."""

    EMPTY = "empty"
    DAMAGED_BY_SPREADSHEET = "damaged_by_spreadsheet"
    NOT_A_NUMBER = "not_a_number"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    UNKNOWN_COUNTRY = "unknown_country"
    IMPOSSIBLE = "impossible"


_SENTENCES = {
    PhoneFault.EMPTY: "there is no phone number",
    PhoneFault.DAMAGED_BY_SPREADSHEET: "a spreadsheet rounded the number, as in 8.19E+11: export the column as text",
    PhoneFault.NOT_A_NUMBER: "this is not a phone number",
    PhoneFault.TOO_SHORT: "the phone number is too short",
    PhoneFault.TOO_LONG: "the phone number is too long",
    PhoneFault.UNKNOWN_COUNTRY: "the phone number starts with no country's prefix",
    PhoneFault.IMPOSSIBLE: "no phone number of that country has this length",
}


class PhoneError(RuleViolation):
    """A text that is no phone number; `fault` says why, the text itself is never repeated."""

    code: ClassVar[str] = "bad_phone"

    def __init__(self, fault: PhoneFault) -> None:
        super().__init__(_SENTENCES[fault], fault=fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Phone:
    """A number as it is dialled (`e164`), where it is from, and what all its spellings share (`match_key`)."""

    e164: str
    country: str  # ISO 3166-1 alpha-2; for shared prefixes the plan's main country when the number is unassigned
    match_key: str
    time_zone: str | None  # IANA; of several zones the most populous one, of a plan with one zone always that one


@dataclass(frozen=True, slots=True)
class _Renumbering:
    """Digits of an older spelling, and the form that stands for both; `back` undoes it."""

    old: re.Pattern[str]
    new: str
    current: re.Pattern[str]
    back: str
    dialled: bool  # the new form is also the one to dial

    @classmethod
    def of(cls, old: str, new: str, current: str, back: str, *, dialled: bool = True) -> "_Renumbering":
        return cls(re.compile(old), new, re.compile(current), back, dialled)


# Keyed by calling code, so that most numbers are looked at once.
# Brazil: ninth digit before mobile numbers (Anatel, 2012-2016). Mexico: 1 after 52 dropped in 2019 (IFT).
# Argentina: 9 marks a mobile called from abroad; accounts exist under both. Cote d'Ivoire: operator prefix by the
# second digit since 2021-01-31 (ARTCI: Moov 01, MTN 05, Orange 07). Benin: 01 before every number since 2024-11-30.
_RENUMBERED: dict[str, tuple[_Renumbering, ...]] = {
    "55": (_Renumbering.of(r"55([1-9]\d)([6-9]\d{7})", r"55\g<1>9\g<2>", r"55([1-9]\d)9([6-9]\d{7})", r"55\1\2"),),
    "52": (_Renumbering.of(r"521(\d{10})", r"52\1", r"52([2-9]\d{9})", r"521\1"),),
    "54": (_Renumbering.of(r"549(\d{10})", r"54\1", r"54([1-8]\d{9})", r"549\1", dialled=False),),
    "225": (
        _Renumbering.of(r"225([014-9][0-3]\d{6})", r"22501\1", r"22501([014-9][0-3]\d{6})", r"225\1"),
        _Renumbering.of(r"225([014-9][4-6]\d{6})", r"22505\1", r"22505([014-9][4-6]\d{6})", r"225\1"),
        _Renumbering.of(r"225([014-9][7-9]\d{6})", r"22507\1", r"22507([014-9][7-9]\d{6})", r"225\1"),
    ),
    "229": (_Renumbering.of(r"229(\d{8})", r"22901\1", r"22901(\d{8})", r"229\1"),),
}

# Where libphonenumber names every zone of a country or of a shared plan: the one most people live in.
_MAIN_ZONES = {
    "AG": "America/Antigua", "AI": "America/Anguilla", "AS": "Pacific/Pago_Pago", "AU": "Australia/Sydney",
    "BB": "America/Barbados", "BM": "Atlantic/Bermuda", "BR": "America/Sao_Paulo", "BS": "America/Nassau",
    "CA": "America/Toronto", "CC": "Indian/Cocos", "CD": "Africa/Kinshasa", "CL": "America/Santiago",
    "CX": "Indian/Christmas", "DM": "America/Dominica", "DO": "America/Santo_Domingo", "EC": "America/Guayaquil",
    "ES": "Europe/Madrid", "GB": "Europe/London", "GD": "America/Grenada", "GG": "Europe/Guernsey",
    "GL": "America/Nuuk", "GU": "Pacific/Guam", "ID": "Asia/Jakarta", "IE": "Europe/Dublin",
    "IM": "Europe/Isle_of_Man", "JE": "Europe/Jersey", "JM": "America/Jamaica", "KI": "Pacific/Tarawa",
    "KN": "America/St_Kitts", "KY": "America/Cayman", "KZ": "Asia/Almaty", "LC": "America/St_Lucia",
    "MN": "Asia/Ulaanbaatar", "MP": "Pacific/Saipan", "MS": "America/Montserrat", "MX": "America/Mexico_City",
    "NO": "Europe/Oslo", "NZ": "Pacific/Auckland", "PF": "Pacific/Tahiti", "PR": "America/Puerto_Rico",
    "PT": "Europe/Lisbon", "RE": "Indian/Reunion", "RU": "Europe/Moscow", "SX": "America/Lower_Princes",
    "TC": "America/Grand_Turk", "TT": "America/Port_of_Spain", "US": "America/New_York", "VC": "America/St_Vincent",
    "VG": "America/Tortola", "VI": "America/St_Thomas", "YT": "Indian/Mayotte",
}  # fmt: skip

_ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?[eE]\+?\d+")
_FLOAT = re.compile(r"(\d{6,})[.,]0+")
_PLAIN = re.compile(r"\+[1-9]\d{6,14}")
_MEXICAN_MOBILE_PREFIX = re.compile(r"04[45](?=\d{10}$)")  # dialled inside Mexico until 2019


def _rules(digits: str) -> tuple[_Renumbering, ...]:
    return _RENUMBERED.get(digits[:2]) or _RENUMBERED.get(digits[:3], ())


def _digits(number: str) -> str:
    return number.removeprefix("+")


def match_key(number: str) -> str:
    """The one spelling, with +, that every equivalent form of an E.164 number or a wa_id's digits shares.

    Accepts digits with or without +; text that is no number comes back unified with nothing.
    """
    digits = _digits(number)
    for rule in _rules(digits):
        if rule.old.fullmatch(digits):
            return "+" + rule.old.sub(rule.new, digits)
    return f"+{digits}"


def equivalents(number: str) -> frozenset[str]:
    """Every spelling, with +, that may denote the same account; contains the number itself and its match key."""
    key = _digits(match_key(number))
    forms = {f"+{_digits(number)}", f"+{key}"}
    for rule in _rules(key):
        if rule.current.fullmatch(key):
            forms.add("+" + rule.current.sub(rule.back, key))
    return frozenset(forms)


def mask(number: str) -> str:
    """`+55 … 77`: the calling code and never more than the last two digits."""
    digits = "".join(character for character in number if character.isdecimal())
    if len(digits) < 6:
        return "…"
    for length in (1, 2, 3):
        if number.startswith("+") and int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return f"+{digits[:length]} … {digits[-2:]}"
    return f"… {digits[-2:]}"


def parse(raw: str, *, region: str) -> Phone:
    """The number in `raw`; `region` (ISO alpha-2) is assumed when no country prefix is written.

    Accepts full-width digits, punctuation, `tel:`, `(0)`, the 00 prefix and a country prefix without +.
    Unassigned ranges are accepted, impossible lengths are not. Raises PhoneError.
    """
    if (plain := _plain_number(raw)) is not None:
        return plain
    number = _unify(_read(raw, region))
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    _check_length(number)
    if len(e164) > 16:  # E.164 allows 15 digits, some national plans in the metadata more
        raise PhoneError(PhoneFault.TOO_LONG)
    country = phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(
        number.country_code or 0
    )
    if country in ("ZZ", "001"):
        raise PhoneError(PhoneFault.UNKNOWN_COUNTRY)
    return Phone(e164, country, match_key(e164), _time_zone(number, country))


@dataclass(frozen=True, slots=True)
class _Plan:
    """A numbering plan in which a number's digits need no closer look: one country, one zone, never renumbered."""

    country: str
    zone: str
    lengths: frozenset[int]  # of the national number
    prefix: re.Pattern[str]  # what may be written before the national number, and would be dropped


def _plain_number(raw: str) -> Phone | None:
    """What libphonenumber makes of `+` and digits that are complete as they stand; None when it has to be asked.

    Files hold most numbers like this, and libphonenumber takes 20 times as long.
    """
    if not _PLAIN.fullmatch(raw):
        return None
    for length in (1, 2, 3):
        code = raw[1 : 1 + length]
        if int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            plan, national = _plan(code), raw[1 + length :]
            if plan is None or len(national) not in plan.lengths or plan.prefix.match(national):
                return None
            return Phone(raw, plan.country, raw, plan.zone)
    return None


@cache
def _plan(code: str) -> _Plan | None:
    """The plan of a calling code; None for one that countries or zones share, or that was renumbered."""
    countries = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]
    zone = _only_zone(int(code))
    if len(countries) != 1 or countries[0] == "001" or zone is None or code in _RENUMBERED:
        return None
    metadata = PhoneMetadata.metadata_for_region(countries[0])
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = re.compile(f"0|(?:{metadata.national_prefix_for_parsing or '0'})")
    return _Plan(countries[0], zone, frozenset(metadata.general_desc.possible_length), prefix)


@cache
def _only_zone(code: int) -> str | None:
    """The zone all numbers of a calling code are in, or None."""
    zones = {zone for digits, zones in TIMEZONE_DATA.items() if digits.startswith(str(code)) for zone in zones}
    return zones.pop() if len(zones) == 1 else None


def mended(raw: str, number: Phone, region: str) -> str | None:
    """What a spreadsheet had taken from a number that was read all the same: its plus, its zero, or its wholeness."""
    if not raw.isascii():
        return None
    if _FLOAT.fullmatch(raw):
        return "decimal_point"
    if not raw.isdigit():
        return None
    if number.e164 == f"+{raw}":
        return "lost_plus"
    if raw[0] != "0" and _trunk_prefix(region) == "0" and number.e164.endswith(raw):
        return "lost_zero"
    return None


@cache
def _trunk_prefix(region: str) -> str | None:
    metadata = PhoneMetadata.metadata_for_region(region)
    return None if metadata is None else metadata.national_prefix


def _read(raw: str, region: str) -> PhoneNumber:
    text = unicodedata.normalize("NFKC", raw).strip()
    if not text:
        raise PhoneError(PhoneFault.EMPTY)
    if not _PLAIN.fullmatch(text):
        if _ROUNDED.fullmatch(text):
            raise PhoneError(PhoneFault.DAMAGED_BY_SPREADSHEET)
        text = _tidy(text, region)
    number = _parse(text, region)
    if not text.startswith("+") and not phonenumbers.is_possible_number(_unify(number)):
        # 81-90-… in a file of another country: a country prefix without its plus, if that makes a real number
        try:
            international = phonenumbers.parse("+" + text.lstrip("0"))
        except NumberParseException:
            return number
        if phonenumbers.is_valid_number(_unify(international)):
            return international
    return number


def _tidy(text: str, region: str) -> str:
    text = _FLOAT.sub(r"\1", text) if _FLOAT.fullmatch(text) else text
    text = text[4:].split(";")[0].strip() if text[:4].lower() == "tel:" else text
    if any(character.isalpha() for character in text):
        raise PhoneError(PhoneFault.NOT_A_NUMBER)  # no vanity numbers, no extensions: WhatsApp has neither
    text = text.replace("(0)", "")
    if text.startswith("00"):
        text = "+" + text.lstrip("0")
    if region == "MX":
        bare = "".join(character for character in text if character.isdecimal())
        text = _MEXICAN_MOBILE_PREFIX.sub("", bare) if _MEXICAN_MOBILE_PREFIX.match(bare) else text
    return text


def _parse(text: str, region: str) -> PhoneNumber:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException as wrong:
        faults = {
            NumberParseException.INVALID_COUNTRY_CODE: PhoneFault.UNKNOWN_COUNTRY,
            NumberParseException.TOO_SHORT_AFTER_IDD: PhoneFault.TOO_SHORT,
            NumberParseException.TOO_SHORT_NSN: PhoneFault.TOO_SHORT,
            NumberParseException.TOO_LONG: PhoneFault.TOO_LONG,
        }
        raise PhoneError(faults.get(wrong.error_type, PhoneFault.NOT_A_NUMBER)) from wrong


def _unify(number: PhoneNumber) -> PhoneNumber:
    """The number in today's plan, when it was written in an older one that is still dialled as the new."""
    digits = f"{number.country_code}{phonenumbers.national_significant_number(number)}"
    for rule in _rules(digits):
        if rule.dialled and rule.old.fullmatch(digits):
            return phonenumbers.parse("+" + rule.old.sub(rule.new, digits))
    return number


def _check_length(number: PhoneNumber) -> None:
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason == ValidationResult.IS_POSSIBLE:
        return
    faults = {
        ValidationResult.TOO_SHORT: PhoneFault.TOO_SHORT,
        ValidationResult.IS_POSSIBLE_LOCAL_ONLY: PhoneFault.TOO_SHORT,
        ValidationResult.TOO_LONG: PhoneFault.TOO_LONG,
        ValidationResult.INVALID_COUNTRY_CODE: PhoneFault.UNKNOWN_COUNTRY,
    }
    raise PhoneError(faults.get(reason, PhoneFault.IMPOSSIBLE))


def _time_zone(number: PhoneNumber, country: str) -> str | None:
    if (only := _only_zone(number.country_code or 0)) is not None:
        return only
    zones = [zone for zone in time_zones_for_number(number) if zone != "Etc/Unknown"]
    if len(zones) == 1:
        return zones[0]
    return _MAIN_ZONES.get(country) or (zones[0] if zones else None)
