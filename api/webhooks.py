"""The provider's webhooks: signature over the raw bytes, stored before the 200, opt-outs in force before the 200."""

import asyncio
import hmac
from typing import Annotated, Any

import structlog
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.exc import DataError, IntegrityError

from api.ingest import ANSWER_WITHIN_S, Ingest
from api.state import Held, Parts
from core.clock import utc_now
from core.errors import Forbidden, NotFound, RuleViolation, Unauthorized, Unavailable
from core.queue import transaction
from core.services import inbound, webhooks
from core.whatsapp.payloads import MAX_WEBHOOK_BYTES
from core.whatsapp.signature import HEADER, is_genuine
from core.whatsapp.webhooks import parse, speaks_for_people

log = structlog.get_logger()

Door = NamedDependency[Ingest]


class WebhookController(Controller):
    path = "/webhooks/whatsapp"
    tags = ("Webhooks",)

    @get(exclude_from_auth=True, media_type="text/plain")
    async def handshake(
        self,
        parts: Held,
        mode: Annotated[str, QueryParameter(name="hub.mode")],
        token: Annotated[str, QueryParameter(name="hub.verify_token")],
        challenge: Annotated[str, QueryParameter(name="hub.challenge", max_length=500)],
    ) -> str:
        """Answer the provider's challenge when it knows our verify token."""
        expected = parts.settings.whatsapp_verify_token
        known = bool(expected) and hmac.compare_digest(expected.encode(), token.encode())
        if mode != "subscribe" or not known:
            raise Forbidden("the verify token is wrong")
        return challenge

    @post(exclude_from_auth=True, status_code=200, request_max_body_size=MAX_WEBHOOK_BYTES, media_type="text/plain")
    async def receive(self, request: Request[None, None, Any], parts: Held, ingest: Door) -> Response[str]:
        """200 once the body is committed; 401 without a genuine signature, 503 when it cannot be stored in time."""
        body = await request.body()
        if not is_genuine(parts.settings.app_secrets, body, request.headers.get(HEADER)):
            raise Unauthorized("the signature is missing or wrong")
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await _keep(body, parts, ingest)
        except TimeoutError as late:
            raise Unavailable("the webhook could not be stored in time; send it again") from late
        return Response("ok")


async def _keep(body: bytes, parts: Parts, ingest: Ingest) -> None:
    """Commit the body: alone with what people withdraw in it, or else together with whatever arrives beside it."""
    if speaks_for_people(body):
        now = utc_now()
        parsed = parse(body, received_at=now)
        if inbound.may_change_consent(parsed):
            try:
                async with ingest.in_turn():
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
