"""The Cloud API over httpx: send, templates, media. Sending takes a permit of the consent gate and nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from core.consent.gate import SendPermit
from core.errors import RuleViolation, Unavailable
from core.statuses import DeliveryStatus
from core.whatsapp import payloads
from core.whatsapp.calls import CallBudget
from core.whatsapp.errors import ProviderError, explain

SEND_TIMEOUT_S = 5.0
UPLOAD_TIMEOUT_S = 60.0
WEBHOOK_FIELDS = (
    "messages",
    "user_preferences",
    "message_template_status_update",
    "message_template_quality_update",
    "message_template_components_update",
    "template_category_update",
    "phone_number_quality_update",
    "phone_number_name_update",
    "business_capability_update",
    "account_update",
    "account_alerts",
    "account_review_update",
    "security",
)

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    `status` is accepted or held with a `wamid`; failed with the provider's `error`; unknown when the request may
    have gone out and no answer came back; queued when it surely did not go out, or may be tried again.
    """

    status: DeliveryStatus
    wamid: str | None = None
    wa_id: str | None = None
    error: ProviderError | None = None
    detail: str | None = None
    retry_after_s: float | None = None
    reached: bool = True  # false: no connection to the provider could be made


class WhatsAppClient:
    """One access token's view of the Cloud API."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        transport: httpx.AsyncBaseTransport,
        *,
        version: str,
        app_id: str = "",
        budget: CallBudget | None = None,
    ) -> None:
        """`transport` is the one `http` uses: a send goes to it directly (see `send`)."""
        self.http = http
        self.transport = transport
        self.version = version
        self.app_id = app_id
        self.budget = budget
        self._headers = httpx.Headers(
            {
                "authorization": http.headers["authorization"],
                "content-type": "application/json",
                "accept-encoding": "gzip, deflate",
            }
        )
        self._timeout = {"timeout": http.timeout.as_dict()}
        self._urls: dict[str, httpx.URL] = {}

    @classmethod
    def connect(
        cls,
        url: str,
        token: str,
        *,
        version: str,
        app_id: str = "",
        connections: int = 100,
        timeout_s: float = SEND_TIMEOUT_S,
        budget: CallBudget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> Self:
        """A client with a pool of `connections`; close it with `aclose`. `budget` limits its management calls."""
        used = transport or AiohttpTransport(client=lambda: _session(connections))
        http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s),
            transport=used,
            follow_redirects=False,
        )
        return cls(http, used, version=version, app_id=app_id, budget=budget)

    async def aclose(self) -> None:
        await self.http.aclose()

    async def send(self, permit: SendPermit, phone_number_id: str, content: dict[str, Any]) -> Outcome:
        """Send `content` (`type` and its object) to the permit's person; the message id travels along.

        The provider has no idempotency key: a request that left without an answer is `unknown`, never repeated.

        The request goes straight to the transport: cookies, redirects and joining URLs are nothing a send needs, and
        would be half of its cost.
        """
        permit.check()
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **permit.recipient(),
            "biz_opaque_callback_data": str(permit.message_id),
            **content,
        }
        request = httpx.Request(
            "POST",
            self._messages_url(phone_number_id),
            headers=self._headers,
            content=msgspec.json.encode(body),
            extensions=self._timeout,
        )
        try:
            response = await self.transport.handle_async_request(request)
            await response.aread()
        except httpx.RequestError as broken:
            return _broken(broken)
        return _read_answer(response)

    def _messages_url(self, phone_number_id: str) -> httpx.URL:
        if phone_number_id not in self._urls:
            path = self._path(f"{phone_number_id}/messages")
            self._urls[phone_number_id] = self.http.build_request("POST", path).url
        return self._urls[phone_number_id]

    async def works_for(self, phone_number_id: str) -> bool:
        """Whether the token is accepted for this number now."""
        try:
            response = await self.http.get(self._path(phone_number_id), params={"fields": "id"})
        except httpx.RequestError:
            return False
        return response.is_success

    async def answers(self, phone_number_id: str) -> bool:
        """Whether anything comes back from the provider, be it a refusal."""
        try:
            response = await self.http.get(self._path(phone_number_id), params={"fields": "id"})
        except httpx.RequestError:
            return False
        return response.is_success or _error_of(response) is not None

    async def create_template(self, waba_id: str, definition: dict[str, Any]) -> payloads.CreatedTemplate:
        """Submit a template for review; raises RuleViolation with the provider's reason."""
        response = await self._call("POST", f"{waba_id}/message_templates", json=definition)
        return _decode(response, payloads.CreatedTemplate)

    async def list_templates(self, waba_id: str) -> list[payloads.RemoteTemplate]:
        """Every template of the account, page after page."""
        found: list[payloads.RemoteTemplate] = []
        after: str | None = None
        while True:
            query = {"limit": "100", **({"after": after} if after else {})}
            response = await self._call("GET", f"{waba_id}/message_templates", params=query)
            page = _decode(response, payloads.TemplatePage)
            found += page.data
            after = page.paging.cursors.after
            if page.paging.next is None or after is None:
                return found

    async def subscribe(self, waba_id: str, callback_url: str, verify_token: str, app_secret: str) -> None:
        """Ask for every webhook of the app and of the account at `callback_url`; the provider's handshake comes first.

        The callback belongs to the app, so it is set with the app's own token; an account's override would carry
        messages only, not what happens to templates and numbers.
        """
        if not self.app_id or not app_secret:
            raise RuleViolation("set KAIRAN_WHATSAPP_APP_ID and KAIRAN_WHATSAPP_APP_SECRET first")
        body = {
            "object": "whatsapp_business_account",
            "callback_url": callback_url,
            "verify_token": verify_token,
            "fields": ",".join(WEBHOOK_FIELDS),
        }
        app_token = {"authorization": f"Bearer {self.app_id}|{app_secret}"}
        await self._call("POST", f"{self.app_id}/subscriptions", json=body, headers=app_token)
        await self._call("POST", f"{waba_id}/subscribed_apps")

    async def upload_media(self, phone_number_id: str, path: Path, mime_type: str) -> str:
        """Upload a file for sending; returns its media id, valid for 30 days."""
        with path.open("rb") as content:
            response = await self._call(
                "POST",
                f"{phone_number_id}/media",
                data={"messaging_product": "whatsapp", "type": mime_type},
                files={"file": (path.name, content.read(), mime_type)},
                timeout=UPLOAD_TIMEOUT_S,
            )
        return str(msgspec.json.decode(response.content)["id"])

    async def ask(self, node: str, **query: str) -> bytes:
        """What the provider says about one of its objects; raises RuleViolation with its words, or Unavailable."""
        return (await self._call("GET", node, params=query)).content

    async def upload_sample(self, path: Path, mime_type: str) -> str:
        """Upload a template's header sample; returns the handle its definition cites."""
        if not self.app_id:
            raise RuleViolation("a media header needs a sample upload: set KAIRAN_WHATSAPP_APP_ID")
        query = {"file_name": path.name, "file_length": str(path.stat().st_size), "file_type": mime_type}
        opened = await self._call("POST", f"{self.app_id}/uploads", params=query)
        session = str(msgspec.json.decode(opened.content)["id"])
        token = self.http.headers["authorization"].removeprefix("Bearer ")
        response = await self._call(
            "POST",
            session,
            content=path.read_bytes(),
            headers={"authorization": f"OAuth {token}", "file_offset": "0"},
            timeout=UPLOAD_TIMEOUT_S,
        )
        return str(msgspec.json.decode(response.content)["h"])

    def _path(self, path: str) -> str:
        return f"/{self.version}/{path}"

    async def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """A management call; raises RuleViolation with the provider's words, Unavailable, or TooManyRequests."""
        if self.budget is not None:
            await self.budget.take()
        try:
            response = await self.http.request(method, self._path(path), **arguments)
        except httpx.RequestError as broken:
            raise Unavailable("the provider cannot be reached; try again") from broken
        if response.is_success:
            return response
        refusal = _error_of(response)
        if refusal is None:
            raise Unavailable(f"the provider answered {response.status_code}; try again")
        words = refusal.error_user_msg or str(refusal.error_data.get("details") or refusal.message)
        raise RuleViolation(f"the provider refused: {words}", provider_code=refusal.code)


def _session(connections: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=connections, ssl=httpx.create_ssl_context())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _broken(broken: httpx.RequestError) -> Outcome:
    """A request without an answer: safe to repeat only when the connection was never made.

    The aiohttp transport reports a server that hung up as a connect time-out, so the cause decides, not the name.
    """
    cause = broken.__cause__
    never_left = isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) or (
        cause is None and isinstance(broken, httpx.ConnectError)
    )
    detail = type(cause or broken).__name__
    if never_left:
        return Outcome(DeliveryStatus.QUEUED, error=explain(2), detail=detail, reached=False)
    if isinstance(cause, TimeoutError) or isinstance(broken, httpx.TimeoutException):
        return Outcome(DeliveryStatus.UNKNOWN, detail="no answer came in time")
    return Outcome(DeliveryStatus.UNKNOWN, detail=f"the connection broke before the answer came ({detail})")


def _read_answer(response: httpx.Response) -> Outcome:
    if response.is_success:
        try:
            answer = msgspec.json.decode(response.content, type=payloads.SendAnswer)
            sent = answer.messages[0]
        except (msgspec.DecodeError, IndexError):
            return Outcome(DeliveryStatus.UNKNOWN, detail="the answer was not understood")
        held = sent.message_status == "held_for_quality_assessment"
        status = DeliveryStatus.HELD if held else DeliveryStatus.ACCEPTED
        return Outcome(status, wamid=sent.id, wa_id=answer.contacts[0].wa_id if answer.contacts else None)
    refusal = _error_of(response)
    if refusal is None:
        # A gateway's page: the request may have passed it.
        return Outcome(
            DeliveryStatus.UNKNOWN,
            detail=f"something between us and the provider answered (HTTP {response.status_code})",
        )
    error = explain(refusal.code)
    detail = str(refusal.error_data.get("details") or refusal.message)[:500]
    retry_after = response.headers.get("retry-after", "")
    status = DeliveryStatus.QUEUED if error.retryable else DeliveryStatus.FAILED
    return Outcome(
        status, error=error, detail=detail, retry_after_s=float(retry_after) if retry_after.isdigit() else None
    )


def _error_of(response: httpx.Response) -> payloads.ErrorBody | None:
    try:
        return msgspec.json.decode(response.content, type=payloads.ErrorEnvelope).error
    except msgspec.DecodeError:
        return None


def _decode(response: httpx.Response, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(response.content, type=shape)
    except msgspec.DecodeError as wrong:
        raise Unavailable("the provider's answer was not understood") from wrong
