"""Webhooks we send, after the Standard Webhooks specification: signature, retry times, and where they may go.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. Signed is `id.timestamp.body` with
HMAC-SHA256; several signatures stand side by side while a secret is rotated.
"""

import asyncio
import base64
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from core.errors import AppError, RuleViolation

EVENT_TYPES: dict[str, str] = {
    "message.accepted": "the provider took a message",
    "message.held": "the provider holds a message while it checks the template",
    "message.sent": "a message left the provider",
    "message.delivered": "a message arrived on the phone",
    "message.read": "a message was opened",
    "message.failed": "a message did not arrive, or was refused",
    "message.skipped": "a message was not sent, with the reason",
    "inbound.received": "a person wrote or tapped something",
    "contact.opted_in": "a consent began or was renewed",
    "contact.opted_out": "a consent ended by the person's own act",
    "campaign.status_changed": "a campaign went on to another status",
    "template.status_changed": "the provider changed a template's status",
}
TEST_EVENT = "hook.test"
PAUSES = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # 5 s, 5 min, … 20 h, 24 h
)
DISABLE_AFTER = timedelta(days=5)  # of nothing but failures
OLD_SECRET_LIVES = timedelta(hours=24)
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64: an IPv4 address in disguise


class ForbiddenTarget(AppError):
    """The address leads to this machine or into a private network."""

    code = "forbidden_target"
    status = 422


def secret_text(key: bytes) -> str:
    """The secret as a receiver's library takes it."""
    return "whsec_" + base64.b64encode(key).decode()


def signature(keys: Sequence[bytes], event_id: str, sent_at: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature per key, parted by spaces."""
    signed = f"{event_id}.{sent_at}.".encode() + body
    made = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return " ".join(f"v1,{each}" for each in made)


def pause_before(attempt: int, spread: float) -> timedelta | None:
    """How long after a failed attempt (from 1) the next one comes; None when it was the last.

    `spread` is 0 … 1 and makes it up to a fifth longer, so that what failed together does not come back together.
    """
    return PAUSES[attempt - 1] * (1 + 0.2 * spread) if attempt <= len(PAUSES) else None


def disables(failing_since: datetime, now: datetime) -> bool:
    return now - failing_since >= DISABLE_AFTER


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what is no address of a server; raises RuleViolation with what to change."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise RuleViolation("this is no web address", field="url") from wrong
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes or not parts.hostname or len(url) > 2000 or not url.isascii():
        raise RuleViolation(f"the address starts with {' or '.join(f'{s}://' for s in schemes)}", field="url")
    if parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        raise RuleViolation(
            "the address holds no password and no #fragment: the signature says who we are", field="url"
        )
    if not allow_private:
        try:
            address = ipaddress.ip_address(parts.hostname)
        except ValueError:
            return
        if not is_public(address):
            raise ForbiddenTarget("webhooks are not sent into private networks", field="url")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the open internet, and hides no other one inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None and not is_public(inner):
            return False
        if address in TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to; raises ForbiddenTarget when any of the host's leads inside, OSError for no host.

    The caller connects to what is returned here and never asks the name again, so it cannot change in between.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]).partition("%")[0] for info in found]
    if not allow_private and not all(is_public(ipaddress.ip_address(each)) for each in addresses):
        raise ForbiddenTarget("the address leads into a private network: nothing was sent")
    return addresses[0]
