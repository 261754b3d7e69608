"""The demo's file of people: made up, the same every time, and as untidy as files are.

The n-th person is the same in a file of any size, so that a second demo meets the people of the first again.
"""

import csv
import hashlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

COLUMNS = (
    "phone", "name", "language", "country", "city", "favourite_tea", "action", "purpose", "occurred_at", "method",
    "collection_point", "notice_id", "lawful_basis", "jurisdiction", "source_system", "source_record_id",
    "evidence_ref", "evidence_sha256", "collected_by",
)  # fmt: skip
Row = dict[str, str]


@dataclass(frozen=True)
class Country:
    """Where people live. `mobile` is a pattern of a mobile number without the country code, # a digit by chance.

    Patterns follow the national numbering plans as libphonenumber knows them; GB's lies in a range in use for
    mobiles. Nobody is called: in the demo every number exists in the simulated WhatsApp only.
    """

    code: str
    prefix: str
    mobile: tuple[str, ...]
    language: str
    utc_offset: int
    cities: tuple[str, ...]
    first: tuple[str, ...]
    last: tuple[str, ...]


COUNTRIES = (
    Country("DE", "49", ("151########", "160#######"), "de", 1, ("Berlin", "Köln", "Leipzig"),
            ("Jürgen", "Anke", "Lukas", "Svenja", "Matthias", "Zoë"), ("Müller", "Groß", "Schäfer", "Yılmaz", "Weiß")),
    Country("BR", "55", ("11 9 9#######", "21 9 8#######", "31 9 9#######"), "pt_BR", -3,
            ("São Paulo", "Rio de Janeiro", "Belo Horizonte"), ("João", "Conceição", "Thaís", "Luiz", "Inês"),
            ("Souza", "Araújo", "Gonçalves", "de Oliveira", "Brandão")),
    Country("MX", "52", ("55########", "33########"), "es_MX", -6, ("Ciudad de México", "Guadalajara", "Zapopan"),
            ("Lupita", "José", "Ximena", "Ángel", "Itzel"), ("Hernández", "Núñez", "Pérez", "Ramírez", "López")),
    Country("ES", "34", ("6########",), "es", 1, ("Madrid", "València", "A Coruña"),
            ("Íñigo", "Begoña", "Nuria", "Álvaro", "Montse"), ("García", "Muñoz", "Etxeberria", "Ibáñez", "Vidal")),
    Country("GB", "44", ("7400######", "7410######", "7420######"), "en_GB", 0, ("London", "Leeds", "Cardiff"),
            ("Siân", "Oliver", "Niamh", "Aisha", "Harry"), ("O'Brien", "Smith", "Patel", "Llewellyn", "Okonkwo")),
    Country("IN", "91", ("98########", "99########"), "en", 5, ("Mumbai", "Bengaluru", "Kolkata"),
            ("Priya", "Arjun", "Lakshmi", "Ravi", "Meera"), ("Sharma", "Iyer", "Banerjee", "Singh", "Nair")),
    Country("JP", "81", ("901#######", "802#######"), "ja", 9, ("東京", "京都", "札幌"),
            ("さくら", "太郎", "陽子", "健", "美咲"), ("佐藤", "鈴木", "高橋", "田中", "渡辺")),
    Country("ID", "62", ("812########", "813########"), "id", 7, ("Jakarta", "Bandung", "Surabaya"),
            ("Siti", "Budi", "Dewi", "Agus", "Putri"), ("Wijaya", "Santoso", "Lestari", "Nugroho", "Hidayat")),
)  # fmt: skip
TEAS = ("sencha", "genmaicha", "hōjicha", "oolong", "Earl Grey", "rooibos")


@dataclass(frozen=True)
class Person:
    country: Country
    national: str  # digits
    name: str
    city: str
    tea: str
    number: int

    @property
    def e164(self) -> str:
        return f"+{self.country.prefix}{self.national}"


@dataclass(frozen=True)
class File:
    """A CSV and what its maker knows about it; `opted_out` are keys as `match` makes them."""

    content: bytes
    rows: int
    reachable: int
    opted_out: frozenset[str]


def match(number: str) -> str:
    """One key for all spellings of a number: digits, and in Brazil and Mexico without the digit that comes and goes."""
    digits = "".join(character for character in number if character.isdigit())
    if digits.startswith("55") and len(digits) == 13:
        return digits[:4] + digits[5:]
    if digits.startswith("521") and len(digits) == 13:
        return "52" + digits[3:]
    return digits


def people() -> Iterator[Person]:
    """The demo's people, one after the other, without end; no two share a number."""
    seen: set[str] = set()
    number = 0
    while True:
        chance = random.Random(f"kairan demo {number}")  # noqa: S311 - made-up people, no secrets
        country = COUNTRIES[number % len(COUNTRIES)]
        pattern = chance.choice(country.mobile).replace(" ", "")
        national = "".join(str(chance.randrange(10)) if sign == "#" else sign for sign in pattern)
        first, last = chance.choice(country.first), chance.choice(country.last)
        name = f"{last} {first}" if country.code == "JP" else f"{first} {last}"
        person = Person(country, national, name, chance.choice(country.cities), chance.choice(TEAS), number)
        number += 1
        if match(person.e164) not in seen:
            seen.add(match(person.e164))
            yield person


def make_file(messages: int, *, began_on: date, notice_id: str) -> File:
    """A file in which about `messages` people may be messaged, and a sixth of the rows is of no use or says no.

    Of every 400 rows beyond those: 60 repeat a row, 60 repeat a person in another spelling, 60 have no usable
    number, 80 are earlier opt-outs, 100 carry no or half the consent evidence, 40 consented too long ago.
    """
    mess = messages // 5
    source = people()
    good = [next(source) for _ in range(messages)]
    rows = [_consented(person, began_on, notice_id) for person in good]
    opted_out = [next(source) for _ in range(_share(mess, 80))]
    extra: list[Row] = [dict(row) for row in rows[: _share(mess, 60)]]
    extra += [
        _respelled(person, began_on, notice_id) for person in _countries(good, "BR", "JP", "GB")[: _share(mess, 60)]
    ]
    extra += [_unusable(position, began_on, notice_id) for position in range(_share(mess, 60))]
    extra += [_opt_out(person, began_on) for person in opted_out]
    extra += [_contact(next(source)) for _ in range(_share(mess, 50))]
    extra += [_half_proven(next(source), began_on, notice_id) for _ in range(_share(mess, 50))]
    extra += [_long_ago(next(source), began_on, notice_id) for _ in range(mess - len(extra))]
    for position, row in enumerate(extra):  # mixed in evenly, each after the row it may repeat
        rows.insert(min(len(rows), len(good) // 5 + position * 5), row)
    return File(_csv(rows), len(rows), messages, frozenset(match(person.e164) for person in opted_out))


def _share(mess: int, of_400: int) -> int:
    return mess * of_400 // 400


def _countries(persons: list[Person], *codes: str) -> list[Person]:
    return [person for person in persons if person.country.code in codes]


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _contact(person: Person) -> Row:
    """Somebody the shop knows, without a word about consent."""
    style = STYLES[person.number // len(COUNTRIES) % len(STYLES)]
    return dict.fromkeys(COLUMNS, "") | {
        "phone": style(person),
        "name": person.name,
        "language": person.country.language,
        "country": person.country.code,
        "city": person.city,
        "favourite_tea": person.tea,
    }


def _consented(person: Person, began_on: date, notice_id: str, *, days_ago: int | None = None) -> Row:
    """Somebody who ticked the box of the shop's form; 10 to 400 days before the first demo unless said otherwise."""
    ago = 10 + person.number * 7 % 390 if days_ago is None else days_ago
    zone = timezone(timedelta(hours=person.country.utc_offset))
    at = datetime.combine(began_on - timedelta(days=ago), time(9 + person.number % 10, person.number % 60), zone)
    record = f"form-{person.number:06d}-{ago}"
    return _contact(person) | {
        "action": "opt_in",
        "purpose": "marketing",
        "occurred_at": at.isoformat(),
        "method": "web_form",
        "collection_point": "checkout-form-v3",
        "notice_id": notice_id,
        "lawful_basis": "consent",
        "jurisdiction": person.country.code,
        "source_system": "webshop",
        "source_record_id": record,
        "evidence_ref": f"{record}.json",
        "evidence_sha256": hashlib.sha256(record.encode()).hexdigest(),
        "collected_by": "webshop",
    }


def _respelled(person: Person, began_on: date, notice_id: str) -> Row:
    """The same person again from another system, the number written as that system writes it."""
    old = {
        "BR": f"+55 {person.national[:2]} {person.national[3:7]}-{person.national[7:]}",  # without the ninth digit
        "JP": f"81-{person.national[:2]}-{person.national[2:6]}-{person.national[6:]}",
        "GB": f"+44 (0){person.national[:4]} {person.national[4:]}",
    }[person.country.code]
    row = _consented(person, began_on, notice_id, days_ago=500)
    return row | {"phone": old, "source_system": "till", "source_record_id": f"till-{person.number:06d}"}


def _unusable(position: int, began_on: date, notice_id: str) -> Row:
    """A row whose number leads nowhere: cut off, damaged by a spreadsheet, or no number at all."""
    numbers = ("", "n/a", "8.19E+11", "+49 151", "+5511", "call me", "+999 12345678", "12345678901234567890", "+81 3-")
    person = Person(COUNTRIES[position % len(COUNTRIES)], "", f"Row {position}", "", TEAS[0], 900_000 + position)
    return _consented(person, began_on, notice_id) | {"phone": numbers[position % len(numbers)]}


def _opt_out(person: Person, began_on: date) -> Row:
    """Somebody who said no before: number, action and date, no more is needed."""
    zone = timezone(timedelta(hours=person.country.utc_offset))
    at = datetime.combine(began_on - timedelta(days=30 + person.number % 200), time(12), zone)
    said = {"action": "opt_out", "purpose": "marketing", "occurred_at": at.isoformat(), "method": "staff"}
    return _contact(person) | said | {"source_record_id": f"no-{person.number:06d}", "collection_point": "support-desk"}


def _half_proven(person: Person, began_on: date, notice_id: str) -> Row:
    """A claim of consent without the notice shown or the record of it."""
    return _consented(person, began_on, notice_id) | {"notice_id": "", "evidence_ref": "", "evidence_sha256": ""}


def _long_ago(person: Person, began_on: date, notice_id: str) -> Row:
    return _consented(person, began_on, notice_id, days_ago=2000)


def _full_width(person: Person) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) for sign in person.e164) if person.country.code == "JP" else person.e164


def _national(person: Person) -> str:
    """As people write their own number at home; the file's region is Germany."""
    return f"0{person.national[:3]} {person.national[3:]}" if person.country.code == "DE" else person.e164


STYLES: tuple[Callable[[Person], str], ...] = (
    lambda person: person.e164,
    _national,
    lambda person: f"+{person.country.prefix} {person.national[:2]} {person.national[2:6]} {person.national[6:]}",
    lambda person: f"00{person.country.prefix}{person.national}",
    _full_width,
    lambda person: person.e164,
)
