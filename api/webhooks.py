"""The provider's webhooks: signature over the raw bytes, stored before the 200, opt-outs in force before the 200.

What the provider posts goes past the framework's router, dependencies and responses: a status costs microseconds to
check and store, and there may be thousands a second.
"""

import asyncio
import hmac
from typing import Annotated

import msgspec
import structlog
from litestar import Controller, Litestar, get
from litestar.params import QueryParameter
from litestar.types import Receive, Scope, Send
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from api.ingest import ANSWER_WITHIN_S, Ingest
from api.problems import MEDIA_TYPE, TITLES
from api.state import Held, Parts
from core.clock import utc_now
from core.errors import AppError, Forbidden, NotFound, RuleViolation, Unauthorized, Unavailable
from core.queue import transaction
from core.services import inbound, webhooks
from core.whatsapp.payloads import MAX_WEBHOOK_BYTES
from core.whatsapp.signature import HEADER, is_genuine
from core.whatsapp.webhooks import parse, speaks_for_people

log = structlog.get_logger()

PATH = "/webhooks/whatsapp"
_SPELT = frozenset({PATH, f"{PATH}/"})  # the handshake is answered at either, so what follows is taken at either
_HEADER = HEADER.encode()


class WebhookController(Controller):
    path = PATH
    tags = ("Webhooks",)

    @get(exclude_from_auth=True, media_type="text/plain")
    async def handshake(
        self,
        parts: Held,
        mode: Annotated[str, QueryParameter(name="hub.mode")],
        token: Annotated[str, QueryParameter(name="hub.verify_token")],
        challenge: Annotated[str, QueryParameter(name="hub.challenge", max_length=500)],
    ) -> str:
        """Answer the provider's challenge when it knows our verify token; what it POSTs here is signed."""
        expected = parts.settings.whatsapp_verify_token
        known = bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
        if mode != "subscribe" or not known:
            raise Forbidden("the verify token is wrong")
        return challenge


class TooLarge(AppError):
    code = "too_large"
    status = 413


class WithDoor(Litestar):
    """The API with the provider's POSTs taken at the door."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if scope.get("path") in _SPELT and scope.get("method") == "POST":
            await receive_webhook(self.state.parts, self.state.ingest, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def receive_webhook(parts: Parts, ingest: Ingest, scope: Scope, receive: Receive, send: Send) -> None:
    """200 once the body is committed; 401 without a genuine signature, 413 when it is larger than the provider's are,
    503 when it cannot be stored in time."""
    try:
        body = await _read(scope, receive)
        if body is None:
            return
        if not is_genuine(parts.settings.app_secrets, body, _signature(scope)):
            raise Unauthorized("the signature is missing or wrong")
        await _keep(body, parts, ingest)
    except AppError as refused:
        await _refuse(send, refused)
    except TimeoutError:
        await _refuse(send, Unavailable("the webhook could not be stored in time; send it again"))
    except (SQLAlchemyError, OSError) as down:
        log.error("webhook.not_stored", error=type(down).__name__)
        await _refuse(send, Unavailable("the database is not available; send it again"))
    else:
        await _answer(send, 200, b"ok", b"text/plain; charset=utf-8")


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None when the provider hung up. Raises TooLarge as soon as that is known."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > MAX_WEBHOOK_BYTES:
            raise TooLarge("the webhook is larger than 3 MB")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message["body"])
        size += len(message["body"])
        if size > MAX_WEBHOOK_BYTES:
            raise TooLarge("the webhook is larger than 3 MB")
        if not message["more_body"]:
            return b"".join(chunks) if len(chunks) > 1 else chunks[0]


def _signature(scope: Scope) -> str | None:
    found = next((value for name, value in scope["headers"] if name == _HEADER), None)
    return None if found is None else found.decode("latin-1")


async def _refuse(send: Send, refused: AppError) -> None:
    problem = {
        "type": "about:blank",
        "title": TITLES[refused.status],
        "status": refused.status,
        "detail": refused.message,
        "code": refused.code,
    }
    await _answer(send, refused.status, msgspec.json.encode(problem), MEDIA_TYPE.encode())


async def _answer(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _keep(body: bytes, parts: Parts, ingest: Ingest) -> None:
    """Commit the body: alone with what people withdraw in it, or else together with whatever arrives beside it."""
    if speaks_for_people(body):
        now = utc_now()
        parsed = parse(body, received_at=now)
        if inbound.may_change_consent(parsed):
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S), ingest.speaking.turn():
                    await webhooks.store_with_withdrawals(
                        lambda: transaction(parts.sessions, parts.ringer),
                        body,
                        parsed,
                        keyring=parts.keyring,
                        settings=parts.settings,
                        now=now,
                    )
                return
            except (RuleViolation, NotFound, ValueError, DataError, IntegrityError) as poison:
                # Asking for it again would bring the same. It is kept like any body, and set aside for a person.
                log.error("webhook.stop_not_recorded", error=type(poison).__name__)
    await ingest.put(body)
