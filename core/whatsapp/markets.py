"""Markets of the provider's rate cards → countries; pure.

A card prices some countries by name and the others by region; a region is a list of calling codes. Source: "Pricing on
the WhatsApp Business Platform", rate cards and calling-code mapping, read 2026-11.
"""

import re
import unicodedata

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, SUPPORTED_REGIONS

OTHER = "other"

_BY_NAME = {
    "argentina": "AR",
    "bangladesh": "BD",
    "brazil": "BR",
    "canada": "CA",
    "chile": "CL",
    "colombia": "CO",
    "egypt": "EG",
    "france": "FR",
    "germany": "DE",
    "hong kong": "HK",
    "hungary": "HU",
    "india": "IN",
    "indonesia": "ID",
    "iraq": "IQ",
    "israel": "IL",
    "italy": "IT",
    "kazakhstan": "KZ",
    "kuwait": "KW",
    "malaysia": "MY",
    "mexico": "MX",
    "morocco": "MA",
    "nepal": "NP",
    "netherlands": "NL",
    "nigeria": "NG",
    "oman": "OM",
    "pakistan": "PK",
    "peru": "PE",
    "poland": "PL",
    "qatar": "QA",
    "romania": "RO",
    "russia": "RU",
    "saudi arabia": "SA",
    "singapore": "SG",
    "south africa": "ZA",
    "spain": "ES",
    "sri lanka": "LK",
    "turkey": "TR",
    "turkiye": "TR",
    "ukraine": "UA",
    "uae": "AE",
    "united arab emirates": "AE",
    "uk": "GB",
    "united kingdom": "GB",
    "united states": "US",
}
_CALLING_CODES = {
    "rest of africa": (
        "213 244 229 267 226 257 237 235 242 291 251 241 220 233 245 225 254 266 231 218 261 265 223 222 258 264 227"
        " 250 221 232 252 211 249 268 255 228 216 256 260 263"
    ),
    "rest of asia pacific": "93 61 855 86 81 856 976 64 675 63 886 992 66 993 998 84",
    "rest of central and eastern europe": ("355 374 994 375 359 385 420 995 30 371 370 373 389 381 421 386"),
    "rest of western europe": "43 32 45 358 353 47 351 46 41",
    "rest of latin america": "591 506 593 503 502 509 504 505 507 595 598 58",
    "rest of middle east": "973 962 961 967",
}
_MORE = {"rest of latin america": ("DO", "JM", "PR"), "north america": ("US", "CA")}  # they share the code 1


def _plain(name: str) -> str:
    bare = unicodedata.normalize("NFKD", name.replace("&", " and ")).encode("ascii", "ignore").decode()
    words = " ".join(re.findall("[a-z]+", bare.lower().replace("_", " ")))
    return words.replace("rest of c and e europe", "rest of central and eastern europe").replace(
        "rest of w europe", "rest of western europe"
    )


def is_region(market: str) -> bool:
    """Whether the market is a list of countries, which a price of their own beats."""
    return _plain(market) in _CALLING_CODES or _plain(market) in _MORE


def is_other(market: str) -> bool:
    """Whether the market is whatever no other market covers."""
    return _plain(market) == OTHER


def countries(market: str) -> tuple[str, ...]:
    """ISO 3166 codes of a market given as a code, a name or a region; empty for one that is none, and for `Other`."""
    if market.strip().upper() in SUPPORTED_REGIONS:
        return (market.strip().upper(),)
    name = _plain(market)
    if name in _BY_NAME:
        return (_BY_NAME[name],)
    found = [
        region
        for code in _CALLING_CODES.get(name, "").split()
        for region in COUNTRY_CODE_TO_REGION_CODE[int(code)]
        if region in SUPPORTED_REGIONS
    ]
    return (*found, *_MORE.get(name, ()))


def every_country() -> frozenset[str]:
    return frozenset(SUPPORTED_REGIONS)
