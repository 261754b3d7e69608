"""Whether a webhook from another system is genuine; pure.

`standard` is the Standard Webhooks specification (github.com/standard-webhooks/standard-webhooks): the signature covers
id, timestamp and body, so an old request cannot be sent again. The two `hmac` schemes sign the body alone, as GitHub
(docs.github.com/webhooks, X-Hub-Signature-256) and Shopify (shopify.dev, X-Shopify-Hmac-SHA256) do: there a repeated
request is known by its delivery id or its body only.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from core.errors import RuleViolation, Unauthorized
from core.hooks import secret_text
from core.statuses import SourceScheme

TOLERANCE = timedelta(minutes=5)
OLD_SECRET_LIVES = timedelta(hours=24)
MAX_BODY = 1 << 20
MAX_SIGNATURES = 10  # that are looked at in one request
DEFAULT_HEADERS = {SourceScheme.HMAC_HEX: "x-hub-signature-256", SourceScheme.HMAC_BASE64: "x-shopify-hmac-sha256"}
_WRONG = "the signature is missing or wrong"


def derived_text(scheme: SourceScheme, key: bytes) -> str:
    """A derived key as the other system is given it."""
    return secret_text(key) if scheme is SourceScheme.STANDARD else key.hex()


def key_of(scheme: SourceScheme, secret: str) -> bytes:
    """The bytes that sign: what `whsec_` says in base64, elsewhere the text itself. Raises RuleViolation."""
    if scheme is not SourceScheme.STANDARD:
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as wrong:
        raise RuleViolation("a secret of Standard Webhooks is whsec_ and base64", field="secret") from wrong


def check(
    scheme: SourceScheme,
    keys: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    *,
    signature_header: str | None,
    now: datetime,
) -> None:
    """Raises Unauthorized unless one of the keys signed these bytes; `headers` have lower-case names."""
    if scheme is SourceScheme.STANDARD:
        _check_standard(keys, headers, body, now)
        return
    given = headers.get(signature_header or DEFAULT_HEADERS[scheme], "").strip()
    digests = [hmac.digest(key, body, "sha256") for key in keys]
    if scheme is SourceScheme.HMAC_HEX:
        given, known = given.removeprefix("sha256=").lower(), [digest.hex() for digest in digests]
    else:
        known = [base64.b64encode(digest).decode() for digest in digests]
    if not _any_equal([given], known):
        raise Unauthorized(_WRONG)


def _check_standard(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    event_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not event_id or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        raise Unauthorized("webhook-id, webhook-timestamp or webhook-signature is missing or wrong")
    signed = f"{event_id}.{stamp}.".encode("latin-1") + body
    known = ["v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    given = headers.get("webhook-signature", "").split()[:MAX_SIGNATURES]
    if not _any_equal(given, known):
        raise Unauthorized(_WRONG)
    if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise Unauthorized("webhook-timestamp is more than five minutes off: is a clock wrong?")


def _any_equal(given: Sequence[str], known: Sequence[str]) -> bool:
    """Each comparison takes the same time wherever the texts differ."""
    pairs = [(one.encode("utf-8", "replace"), two.encode()) for one in given for two in known]
    return any(hmac.compare_digest(one, two) for one, two in pairs)
