"""Files people sent: asked for by their id, then fetched from the link the provider gives, which lives five minutes.

Ids that came in a webhook live seven days, files have up to 100 MB, and the link needs the token too. Source:
developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media, read 2026-11.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from core.errors import AppError, Unavailable
from core.whatsapp.client import WhatsAppClient

DOWNLOAD_TIMEOUT_S = 60.0
# Where the provider keeps files; the token goes nowhere else.
HOSTS = ("fbsbx.com", "facebook.com", "whatsapp.net")


class TooLarge(AppError):
    """The file is larger than what we take; nothing of it was kept."""

    code = "too_large"


class _Described(msgspec.Struct):
    url: str
    mime_type: str | None = None
    sha256: str | None = None
    file_size: str | int | None = None


@dataclass(frozen=True)
class Downloaded:
    """What was written; `sha256` in hex."""

    mime_type: str | None
    bytes: int
    sha256: str


async def download(client: WhatsAppClient, provider_id: str, target: Path, *, most_bytes: int) -> Downloaded:
    """Write the file to `target`, whose folder exists; a part of a file is never left behind.

    Raises TooLarge, RuleViolation with the provider's words when it does not know the id, and Unavailable when trying
    again may help.
    """
    answer = await client.ask(provider_id)
    try:
        described = msgspec.json.decode(answer, type=_Described)
    except msgspec.DecodeError as wrong:
        raise Unavailable("the provider's answer was not understood") from wrong
    if str(described.file_size or "").isdecimal() and int(str(described.file_size)) > most_bytes:
        raise TooLarge("the file is too large", bytes=int(str(described.file_size)))
    _check_host(described.url, client.http.base_url)
    try:
        size, digest = await _write(client.http, described.url, target, most_bytes)
        if not _is_same(described.sha256, digest):
            raise Unavailable("the file did not arrive whole")
    except (AppError, OSError):
        target.unlink(missing_ok=True)
        raise
    return Downloaded(described.mime_type, size, digest.hex())


def _check_host(url: str, base: httpx.URL) -> None:
    """Raise Unavailable unless the link leads to the provider, on the same kind of connection as its API."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_known = host == base.host or any(host == known or host.endswith(f".{known}") for known in HOSTS)
    if parts.scheme != base.scheme or not is_known:
        raise Unavailable("the provider's link leads somewhere else: the token is not sent there")


async def _write(http: httpx.AsyncClient, url: str, target: Path, most_bytes: int) -> tuple[int, bytes]:
    size, digest = 0, hashlib.sha256()
    try:
        async with http.stream("GET", url, timeout=DOWNLOAD_TIMEOUT_S) as response:
            if not response.is_success:
                raise Unavailable(f"the provider answered {response.status_code} for the file")
            with target.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > most_bytes:
                        raise TooLarge("the file is too large", bytes=size)
                    digest.update(chunk)
                    file.write(chunk)
    except httpx.RequestError as broken:
        raise Unavailable("the provider cannot be reached; try again") from broken
    return size, digest.digest()


def _is_same(told: str | None, digest: bytes) -> bool:
    """The provider spells the hash in hex or in base64; anything else says nothing."""
    try:
        if told and len(told) == 64:
            return bytes.fromhex(told) == digest
        if told and len(told) == 44:
            return base64.b64decode(told, validate=True) == digest
    except (ValueError, binascii.Error):
        return True
    return True
