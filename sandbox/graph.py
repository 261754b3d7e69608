"""The Graph API as an ASGI application: versions, tokens, node lookup, error envelopes.

`POST /{phone_number_id}/messages` takes the shortest way; everything else goes through the table of routes.
"""

import hmac
import inspect
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import httpx
import msgspec
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send

from sandbox import management as m
from sandbox import sending, template_api
from sandbox.calls import Call, Reply
from sandbox.errors import GraphError, unknown_object, unknown_path
from sandbox.simulation import Sandbox

OLDEST, NEWEST = 21, 26
_BROKEN_PAGE = b"<html><body><h1>Sorry, something went wrong.</h1></body></html>"

Handler = Callable[[Call], object | Awaitable[object]]
_ROUTES: dict[tuple[str, str, str], Handler] = {
    ("GET", "number", ""): m.get_number,
    ("POST", "number", ""): m.post_number,
    ("POST", "number", "media"): m.upload_media,
    ("GET", "waba", ""): m.get_waba,
    ("GET", "waba", "phone_numbers"): m.list_numbers,
    ("POST", "waba", "message_templates"): template_api.create_template,
    ("GET", "waba", "message_templates"): template_api.list_templates,
    ("DELETE", "waba", "message_templates"): template_api.delete_templates,
    ("POST", "waba", "subscribed_apps"): m.subscribe,
    ("GET", "waba", "subscribed_apps"): m.list_subscriptions,
    ("DELETE", "waba", "subscribed_apps"): m.unsubscribe,
    ("GET", "template", ""): template_api.get_template,
    ("POST", "template", ""): template_api.edit_template,
    ("POST", "template", "unpause"): template_api.unpause_template,
    ("GET", "media", ""): m.get_media,
    ("DELETE", "media", ""): m.delete_media,
    ("POST", "app", "uploads"): m.start_upload,
    ("POST", "app", "subscriptions"): m.subscribe_app,
    ("POST", "upload", ""): m.continue_upload,
    ("GET", "upload", ""): m.upload_offset,
    ("GET", "debug_token", ""): m.debug_token,
    ("GET", "attachments", ""): m.download_media,
}
_APP_TOKEN_EDGES = frozenset({("app", "subscriptions"), ("app", "uploads"), ("debug_token", "")})


class ConnectionDropped(httpx.RemoteProtocolError):
    """The connection is to be closed without an answer.

    Leaves the application as an exception: an in-process client (`httpx.ASGITransport`) sees exactly the error that a
    network client would, and `sandbox.server` turns it into a closed socket.
    """


class Graph:
    """One version of the API, mounted at `/v{version}.0`, which is not part of the paths it sees."""

    def __init__(self, sandbox: Sandbox, version: int) -> None:
        self._sandbox, self._version = sandbox, version
        config = sandbox.config
        self._bearer = b"Bearer " + config.access_token.encode()
        self._tokens = {config.access_token, f"{config.app_id}|{config.app_secret}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            return
        body = await _body(receive)
        try:
            reply = await self._answer(scope, body)
        except GraphError as error:
            reply = Reply(*error.reply())
        headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _answer(self, scope: HTTPScope, body: bytes) -> Reply:
        node, _, edge = scope["path"].strip("/").partition("/")
        if edge == "messages" and scope["method"] == "POST":
            number = self._sandbox.store.numbers.get(node)
            if number is not None:
                reply = await self._early_faults(number.config.id)
                if reply is not None:
                    return reply
                self._authorise(scope, app_token=False)
                answered = await sending.answer(self._sandbox, number, self._version, body)
                if answered is None:
                    raise ConnectionDropped("Server disconnected without sending a response.")
                return Reply(200, answered)
        return await self._manage(scope, node, edge, body)

    async def _early_faults(self, phone_number_id: str) -> Reply | None:
        faults = self._sandbox.faults
        if not faults.active:
            return None
        if faults.strikes("reset_connection", phone_number_id):
            raise ConnectionDropped("Server disconnected without sending a response.")
        broken = faults.strikes("server_error", phone_number_id)
        if broken is None:
            return None
        status = broken.status or 500
        if not broken.json:
            return Reply(status, _BROKEN_PAGE, b"text/html; charset=utf-8")
        error = GraphError(2 if status == 503 else 131000, http_status=status, transient=True)
        return Reply(*error.reply())

    async def _manage(self, scope: HTTPScope, node: str, edge: str, body: bytes) -> Reply:
        kind, method = self._kind(node), scope["method"]
        self._authorise(scope, app_token=(kind, edge) in _APP_TOKEN_EDGES)
        handler = _ROUTES.get((method, kind, edge))
        if handler is None:
            raise unknown_object(node, method) if node else unknown_path(f"v{self._version}.0")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        base_url = f"{scope['scheme']}://{headers.get('host', 'localhost')}"
        call = Call(self._sandbox, method, self._version, node, query, headers, body, base_url)
        self._count(call, kind)
        result = handler(call)
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, Reply) else Reply(200, msgspec.json.encode(result))

    def _kind(self, node: str) -> str:
        store, config = self._sandbox.store, self._sandbox.config
        if node.startswith("upload:"):
            return "upload"
        known = (
            ("number", store.numbers),
            ("waba", store.wabas),
            ("template", store.templates),
            ("media", store.media),
        )
        for kind, nodes in known:
            if node in nodes:
                return kind
        return "app" if node == config.app_id else node

    def _count(self, call: Call, kind: str) -> None:
        """Calls about an account and its templates share an hourly budget; messages and media do not count."""
        store = self._sandbox.store
        waba = store.wabas.get(call.node)
        if kind == "template":
            waba = store.templates[call.node].waba
        elif kind == "number" and call.method == "GET":
            waba = store.numbers[call.node].waba
        if waba is not None and not waba.calls.admit(self._sandbox.clock.now()):
            raise GraphError(
                80007, message="(#80007) There have been too many calls to this WhatsApp Business account."
            )

    def _authorise(self, scope: HTTPScope, *, app_token: bool) -> None:
        """Raises GraphError 190 for a missing, unknown or expired token, 100 for a wrong `appsecret_proof`."""
        given = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                given = value
                break
        sandbox, token = self._sandbox, ""
        query = scope["query_string"]
        if given != self._bearer:
            token = _token(given, query)
            allowed = self._tokens if app_token else {sandbox.config.access_token}
            if not token:
                raise GraphError(190, message="An access token is required to request this resource.")
            if token not in allowed:
                raise GraphError(190, message="Invalid OAuth access token - Cannot parse access token")
        expires = sandbox.config.token_expires_at
        expired = expires is not None and sandbox.clock.now() >= expires
        if expired or (sandbox.faults.active and sandbox.faults.strikes("token_expired")):
            raise GraphError(
                190, subcode=463, message="Error validating access token: Session has expired on a date in the past."
            )
        if b"appsecret_proof" in query or sandbox.config.require_appsecret_proof:
            self._check_proof(token or sandbox.config.access_token, query)

    def _check_proof(self, token: str, query: bytes) -> None:
        proof = dict(parse_qsl(query.decode("latin-1"))).get("appsecret_proof")
        if proof is None:
            raise GraphError(100, message="API calls from the server require an appsecret_proof argument")
        right = hmac.digest(self._sandbox.config.app_secret.encode(), token.encode(), "sha256").hex()
        if not hmac.compare_digest(proof, right):
            raise GraphError(100, message="Invalid appsecret_proof provided in the API argument")


def _token(header: bytes | None, query: bytes) -> str:
    """The token of an `Authorization: Bearer` (or `OAuth`) header, or of the `access_token` parameter."""
    if header is not None:
        scheme, _, token = header.decode("latin-1").partition(" ")
        return token.strip() if scheme.lower() in ("bearer", "oauth") else ""
    return dict(parse_qsl(query.decode("latin-1"))).get("access_token", "")


async def _body(receive: Receive) -> bytes:
    """The whole request body."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return message["body"]
    chunks = []
    while message["type"] == "http.request":
        chunks.append(message["body"])
        if not message.get("more_body"):
            break
        message = await receive()
    return b"".join(chunks)
