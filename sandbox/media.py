"""Media: uploads, five-minute download links, and resumable uploads for template samples.

Types, sizes and lifetimes from Meta's "Media" page and the Graph API's "Resumable Upload API".
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from sandbox.errors import GraphError, missing, unknown_object
from sandbox.simulation import Sandbox
from sandbox.state import Media, Number, Upload, numeric_id

_MB = 1024 * 1024
_DOCUMENTS = (
    "text/plain", "application/pdf", "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
)  # fmt: skip
TYPES: dict[str, tuple[str, int]] = {
    "image/jpeg": ("image", 5 * _MB), "image/png": ("image", 5 * _MB),
    "video/mp4": ("video", 16 * _MB), "video/3gpp": ("video", 16 * _MB),
    "audio/aac": ("audio", 16 * _MB), "audio/amr": ("audio", 16 * _MB), "audio/mpeg": ("audio", 16 * _MB),
    "audio/mp4": ("audio", 16 * _MB), "audio/ogg": ("audio", 16 * _MB),
    "image/webp": ("sticker", 500 * 1024),
    **dict.fromkeys(_DOCUMENTS, ("document", 100 * _MB)),
}  # fmt: skip
_LIFETIME_S, _LINK_S = 30 * 86400, 300
_SAMPLES = frozenset({"application/pdf", "image/jpeg", "image/jpg", "image/png", "video/mp4"})


def store_media(sandbox: Sandbox, number: Number, fields: Mapping[str, str], content: bytes, mime_type: str) -> str:
    """Keep an uploaded file and return its id; raises GraphError 100 or 131053."""
    if fields.get("messaging_product") != "whatsapp":
        raise missing("messaging_product")
    mime_type = fields.get("type") or mime_type
    mime_type = mime_type.split(";")[0].strip().lower()
    if mime_type not in TYPES:
        raise GraphError(
            100, message=f"(#100) Param file must be a file with one of the following types: {', '.join(TYPES)}."
            f" Received file of type '{mime_type}'.",
        )  # fmt: skip
    kind, limit = TYPES[mime_type]
    if not content or len(content) > min(limit, sandbox.config.media_max_mb * _MB):
        raise GraphError(131053, f"The {kind} is empty or larger than {limit} bytes")
    media_id = numeric_id("9", sandbox.store.boot.hex(), str(len(sandbox.store.media)))
    sandbox.store.media[media_id] = Media(
        media_id, number, content, mime_type, hashlib.sha256(content).hexdigest(), sandbox.clock.now()
    )
    return media_id


def media_problem(sandbox: Sandbox, number: Number, media_id: str, kind: str) -> str | None:
    """Why an id cannot be sent as `kind` from this number, or None."""
    media = sandbox.store.media.get(media_id)
    if media is None or sandbox.clock.now() - media.created_at > _LIFETIME_S or media.number.waba is not number.waba:
        return f"{kind}: media id {media_id} does not exist or has expired"
    have = TYPES[media.mime_type][0]
    return None if have == kind else f"{kind}: media id {media_id} is of type {have}"


def describe(sandbox: Sandbox, media: Media, base_url: str) -> dict[str, object]:
    """What `GET /{media_id}` answers; the link works for five minutes."""
    expires = int(sandbox.clock.now()) + _LINK_S
    path = f"/whatsapp_business/attachments/?mid={media.id}&ext={expires}&hash={_proof(sandbox, media.id, expires)}"
    return {
        "messaging_product": "whatsapp",
        "url": base_url + path,
        "mime_type": media.mime_type,
        "sha256": media.sha256,
        "file_size": str(len(media.content)),
        "id": media.id,
    }


def download(sandbox: Sandbox, query: Mapping[str, str]) -> Media | None:
    """The file behind a download link, or None when the link is wrong or older than five minutes."""
    media = sandbox.store.media.get(query.get("mid", ""))
    expires = query.get("ext", "")
    if media is None or not expires.isdecimal() or int(expires) < sandbox.clock.now():
        return None
    return media if hmac.compare_digest(query.get("hash", ""), _proof(sandbox, media.id, int(expires))) else None


def _proof(sandbox: Sandbox, media_id: str, expires: int) -> str:
    return hmac.digest(sandbox.store.boot, f"{media_id}:{expires}".encode(), "sha256").hex()[:20]


def start_upload(sandbox: Sandbox, query: Mapping[str, str]) -> str:
    """Open a resumable upload and return its id (`upload:…`); raises GraphError 100."""
    for name in ("file_length", "file_type"):
        if name not in query:
            raise missing(name)
    if not query["file_length"].isdecimal() or not 0 < int(query["file_length"]) <= 100 * _MB:
        raise GraphError(100, message="(#100) Param file_length must be a number between 1 and 104857600.")
    if query["file_type"] not in _SAMPLES:
        raise GraphError(100, message=f"(#100) Param file_type must be one of {{{', '.join(sorted(_SAMPLES))}}}.")
    session = numeric_id("7", sandbox.store.boot.hex(), "upload", str(len(sandbox.store.uploads)))
    name = "upload:" + base64.urlsafe_b64encode(session.encode()).decode().rstrip("=")
    sandbox.store.uploads[name] = Upload(name, int(query["file_length"]), query["file_type"])
    return f"{name}?sig={_proof(sandbox, name, 0)}"


def upload_of(sandbox: Sandbox, name: str, query: Mapping[str, str], method: str) -> Upload:
    """The open upload with this id and signature; raises GraphError 100."""
    upload = sandbox.store.uploads.get(name)
    if upload is None or query.get("sig") != _proof(sandbox, name, 0):
        raise unknown_object(name, method)
    return upload


def add_to_upload(sandbox: Sandbox, upload: Upload, offset: str | None, content: bytes) -> dict[str, object]:
    """Append bytes at `file_offset`; the handle once all have come, the offset to go on from until then."""
    if offset is None or not offset.isdecimal() or int(offset) != len(upload.received):
        raise GraphError(100, message=f"(#100) file_offset must be {len(upload.received)}.")
    if len(upload.received) + len(content) > upload.length:
        raise GraphError(100, message="(#100) More bytes than file_length.")
    upload.received += content
    if len(upload.received) < upload.length:
        return {"id": upload.id, "file_offset": len(upload.received)}
    digest = hashlib.sha256(upload.received).digest()[:24]
    handle = f"4::{base64.b64encode(upload.mime_type.encode()).decode()}:{base64.urlsafe_b64encode(digest).decode()}"
    return {"h": handle}
