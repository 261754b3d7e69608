"""The provider's webhooks: signature over the raw bytes, stored before the 200, opt-outs in force before the 200."""

import hmac
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.ingest import Ingest
from api.state import Held
from core.errors import Forbidden, Unauthorized
from core.queue import transaction
from core.services import webhooks
from core.whatsapp.payloads import MAX_WEBHOOK_BYTES
from core.whatsapp.signature import HEADER, is_genuine
from core.whatsapp.webhooks import speaks_for_people

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
        """200 once the body is committed; 401 without a genuine signature, 503 when it cannot be stored."""
        body = await request.body()
        if not is_genuine(parts.settings.app_secrets, body, request.headers.get(HEADER)):
            raise Unauthorized("the signature is missing or wrong")
        if speaks_for_people(body):
            await webhooks.store_with_withdrawals(
                lambda: transaction(parts.sessions, parts.ringer), body, keyring=parts.keyring, settings=parts.settings
            )
        else:
            await ingest.put(body)
        return Response("ok")
