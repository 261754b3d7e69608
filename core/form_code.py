"""The code of a filled-in form: 100 random bits in base32, which the person sends back from WhatsApp; pure."""

import base64
import hashlib
import re
import secrets
import unicodedata

from core.consent import keywords
from core.statuses import InboundIntent

GROUPS, LETTERS = 4, 5  # 20 letters of 5 bits
_CODE = re.compile(r"(?<![A-Z2-7])[A-Z2-7]{5}(?:-[A-Z2-7]{5}){3}(?![A-Z2-7])")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−－", "-"))  # what keyboards and phones make of a hyphen


def new_code() -> str:
    """A fresh code such as `QK7ZP-2MWXA-…`; one that reads as a word of the keyword table (STOPP) is drawn again."""
    while True:
        letters = base64.b32encode(secrets.token_bytes(13)).decode()[: GROUPS * LETTERS]
        code = "-".join(letters[at : at + LETTERS] for at in range(0, len(letters), LETTERS))
        if keywords.classify(code).intent is InboundIntent.REPLY:
            return code


def code_hash(code: str) -> str:
    """What is stored of a code; it is random enough that a plain hash hides it."""
    return hashlib.sha256(code.encode()).hexdigest()


def code_in(words: str | None) -> str | None:
    """The code a message holds, whatever else it says; None without one."""
    if not words:
        return None
    found = _CODE.search(unicodedata.normalize("NFKC", words).translate(_DASHES).upper())
    return found[0] if found else None
