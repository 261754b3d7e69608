"""How a file of contacts is to be read: which column is which field, in what language, with which defaults."""

from collections.abc import Mapping, Sequence
from uuid import UUID
from zoneinfo import available_timezones

import msgspec

from core.errors import RuleViolation
from core.statuses import MergePolicy
from core.tabular import Format

# What a column may be called, lower case; English, Japanese, German.
HEADERS: dict[str, tuple[str, ...]] = {
    "phone": (
        *("phone", "phone number", "phone_number", "mobile", "mobile number", "cell", "cell phone", "tel"),
        *("telephone", "address", "whatsapp", "whatsapp number", "number"),
        *("電話番号", "携帯番号", "携帯電話", "携帯電話番号", "電話", "携帯", "tel番号"),
        *("telefon", "telefonnummer", "mobil", "mobilnummer", "handy", "handynummer", "rufnummer", "mobiltelefon"),
    ),
    "name": (
        *("name", "full name", "full_name", "first name", "first_name", "customer name"),
        *("氏名", "名前", "お名前", "顧客名"),
        *("vollständiger name", "vor- und nachname", "vorname", "kunde", "kundenname"),
    ),
    "language": ("language", "lang", "locale", "言語", "sprache"),
    "country": ("country", "country code", "country_code", "国", "国名", "国コード", "land", "ländercode"),
    "time_zone": ("time_zone", "timezone", "time zone", "タイムゾーン", "時間帯", "zeitzone"),
    "action": ("action", "consent", "opt_in", "opt-in", "optin", "同意", "配信同意", "einwilligung", "zustimmung"),
    "purpose": ("purpose", "目的", "利用目的", "zweck"),
    "occurred_at": (
        *("occurred_at", "consent_at", "opted_in_at", "consent date", "consent time", "opt-in date"),
        *("同意日時", "同意日", "取得日時"),
        *("einwilligung am", "einwilligungsdatum", "zugestimmt am", "zeitpunkt"),
    ),
    "method": ("method", "collection_method", "取得方法", "同意方法", "erhebungsart", "methode"),
    "collection_point": ("collection_point", "source", "取得場所", "取得元", "quelle", "erhebungsort"),
    "notice_id": ("notice_id", "notice", "告知文", "hinweis", "hinweistext"),
    "source_system": ("source_system", "system", "元システム", "quellsystem"),
    "source_record_id": (
        *("source_record_id", "record_id", "record id", "customer_id", "customer id", "customer number", "customer no"),
        *("レコードid", "顧客id", "顧客番号", "会員id", "会員番号"),
        *("datensatz", "datensatz-id", "kundennummer", "kunden-nr", "kunden-nr.", "kundennr", "kunden-id"),
    ),
    "evidence_ref": ("evidence_ref", "evidence", "証跡", "証拠", "nachweis", "beleg"),
    "evidence_sha256": ("evidence_sha256",),
    "collected_by": ("collected_by", "取得者", "erhoben von"),
    "confirmed_at": ("confirmed_at", "確認日時", "bestätigt am"),
}
# What people write instead of a country's code.
COUNTRIES = {
    name: code
    for code, names in {
        "AR": "argentina argentinien アルゼンチン",
        "AT": "austria österreich オーストリア",
        "AU": "australia australien オーストラリア",
        "BR": "brazil brasil brasilien ブラジル",
        "CH": "switzerland schweiz スイス",
        "CN": "china 中国",
        "DE": "germany deutschland ドイツ",
        "ES": "spain españa spanien スペイン",
        "FR": "france frankreich フランス",
        "GB": "uk england großbritannien イギリス 英国",
        "ID": "indonesia indonesien インドネシア",
        "IN": "india indien インド",
        "IT": "italy italia italien イタリア",
        "JP": "japan 日本 jpn",
        "KR": "korea südkorea 韓国",
        "MX": "mexico méxico mexiko メキシコ",
        "NL": "netherlands niederlande オランダ",
        "PT": "portugal ポルトガル",
        "SG": "singapore singapur シンガポール",
        "TH": "thailand タイ",
        "TW": "taiwan 台湾",
        "US": "usa アメリカ 米国",
        "VN": "vietnam ベトナム",
    }.items()
    for name in names.split()
} | {"united kingdom": "GB", "united states": "US", "south korea": "KR"}
VERDICT_COLUMNS = ("row_number", "verdict", "reason")  # what a file of rejected rows begins with
CONTACT_FIELDS = ("phone", "name", "language", "country", "time_zone")
CONSENT_FIELDS = tuple(name for name in HEADERS if name not in CONTACT_FIELDS)


def suggest_columns(header: Sequence[str]) -> dict[str, str]:
    """Our field → the file's column, by the names people use; other columns become attributes."""
    lower = {name.strip().casefold(): name for name in header if name}
    found: dict[str, str] = {}
    for our, names in HEADERS.items():
        theirs = next((lower[name] for name in names if name in lower), None)
        if theirs is not None:
            found[our] = theirs
    return found


def told_by_them(header: Sequence[str]) -> list[str]:
    """The header, with our own columns unnamed where a file of rejected rows comes back mended."""
    ours = len(VERDICT_COLUMNS)
    return [*("" for _ in VERDICT_COLUMNS), *header[ours:]] if tuple(header[:ours]) == VERDICT_COLUMNS else [*header]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is read and where its people go; stored with the import as JSON."""

    region: str  # ISO alpha-2, of numbers without a prefix
    columns: dict[str, str]  # our field → the file's column
    form: Format
    zone: str = "UTC"  # IANA, of times without one
    merge: MergePolicy = MergePolicy.FILL
    audience_id: UUID | None = None

    def stored(self) -> dict[str, object]:
        built: dict[str, object] = msgspec.to_builtins(self)
        return built


def checked_zone(zone: str) -> str:
    """The zone's name; raises RuleViolation when there is none of that name."""
    if zone not in available_timezones():
        raise RuleViolation(f"{zone!r} is no time zone: name one such as Europe/Berlin", field="options.zone")
    return zone


def mapped_columns(header: Sequence[str], named: Mapping[str, str], *, for_preview: bool = False) -> dict[str, str]:
    """Our field → the file's column: as named, otherwise as suggested; an empty name leaves a field out.

    Raises RuleViolation for a field or a column there is none of, and, but for a preview, when nothing holds phone
    numbers.
    """
    for our, theirs in named.items():
        if our not in HEADERS:
            raise RuleViolation(f"there is no field {our!r} to map to", field="columns")
        if theirs and theirs not in header:
            raise RuleViolation(f"the file has no column {theirs!r}", field="columns")
    taken = {theirs for theirs in named.values() if theirs}
    suggested = {our: theirs for our, theirs in suggest_columns(header).items() if theirs not in taken}
    mapped = {our: theirs for our, theirs in (suggested | dict(named)).items() if theirs}
    if len(set(mapped.values())) < len(mapped):
        raise RuleViolation("one column is named for two fields", field="columns")
    if "phone" not in mapped and not for_preview:
        shown = ", ".join(name[:30] for name in header[:10])
        raise RuleViolation(
            f"no column holds phone numbers: name one `phone`, or map it with columns (found: {shown})", field="file"
        )
    return mapped
