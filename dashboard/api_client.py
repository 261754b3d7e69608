"""Actions and live data over HTTP; what goes wrong comes back as one sentence.

Refusals are `core.errors`: the status of the problem (RFC 9457) picks the class, its detail and fields make the
sentence. `Unauthorized` means sign in again, `Unavailable` that trying again may help.
"""

import json
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from core.errors import (
    AppError,
    Conflict,
    Forbidden,
    NotFound,
    RuleViolation,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from dashboard import chat_payloads as c
from dashboard import payloads as p
from dashboard.campaign_payloads import Campaign, Message, Review, Settled
from dashboard.payloads import Json

T = TypeVar("T")
Params = dict[str, str | int]

_BY_STATUS: dict[int, type[AppError]] = {
    400: RuleViolation,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: RuleViolation,
    422: RuleViolation,
}


def open_http(base_url: str, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A connection pool to the API; threads may share it. Proxies of the environment are not used."""
    timeout = httpx.Timeout(30.0, connect=3.0)
    return httpx.Client(base_url=base_url, timeout=timeout, transport=transport, trust_env=False)


def refusal(response: httpx.Response) -> AppError:
    """The error an answer stands for, with one sentence for people."""
    try:
        problem = p.decode(response.content, p.ProblemDetails)
    except (msgspec.DecodeError, msgspec.ValidationError):
        problem = p.ProblemDetails()  # not from our API: a proxy, or an error before it could speak
    sentence = problem.detail or problem.title
    unsaid = [wrong for wrong in problem.errors if wrong.message not in sentence]
    sentence = "; ".join([sentence.rstrip("."), *(f"{wrong.field}: {wrong.message}" for wrong in unsaid)])
    sentence = f"{sentence[:1].upper()}{sentence[1:]}." if sentence else ""
    status = response.status_code
    if status == 429:
        wait = problem.retry_after_s or 60
        return TooManyRequests(sentence or f"Too many tries. Wait {wait} seconds and try again.", retry_after_s=wait)
    if status >= 500:
        return Unavailable(sentence or f"The API could not answer (error {status}). Try again in a moment.")
    return _BY_STATUS.get(status, RuleViolation)(sentence or f"The API refused this (error {status}).")


class ApiClient:
    """The API as one person sees it; every method raises `AppError` with a sentence."""

    def __init__(self, http: httpx.Client, token: str | None = None) -> None:
        self._http = http
        self._token = token

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        key: str | None = None,
        form: dict[str, str] | None = None,
        file: tuple[str, bytes] | tuple[str, bytes, str] | None = None,
    ) -> bytes:
        headers = {"Accept": "application/json, application/problem+json, */*"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if key:
            headers["Idempotency-Key"] = key
        try:
            response = self._http.request(
                method,
                path,
                params=params,
                json=body,
                data=form,
                files={"file": file} if file else None,
                headers=headers,
            )
        except httpx.TimeoutException as late:
            raise Unavailable("The API did not answer in time. What you asked for may still be under way.") from late
        except httpx.TransportError as unreachable:
            raise Unavailable(f"The API at {self._http.base_url} cannot be reached. Is it running?") from unreachable
        if not response.is_success:
            raise refusal(response)
        return response.content

    def _get(self, path: str, shape: type[T], **params: str | int | None) -> T:
        given: Params = {name: value for name, value in params.items() if value not in (None, "")}
        return self._decode(self._send("GET", path, params=given), shape)

    def _download(self, path: str, **params: str | None) -> bytes:
        given: Params = {name: value for name, value in params.items() if value}
        return self._send("GET", path, params=given)

    def _post(self, path: str, shape: type[T], body: Json, key: str | None = None) -> T:
        return self._decode(self._send("POST", path, body=body, key=key), shape)

    @staticmethod
    def _decode(content: bytes, shape: type[T]) -> T:
        try:
            return p.decode(content, shape)
        except (msgspec.DecodeError, msgspec.ValidationError) as strange:
            raise Unavailable(f"The API answered in a shape this dashboard does not know ({strange}).") from strange

    # session
    def sign_in(self, email: str, password: str) -> p.Session:
        return self._post("/api/session", p.Session, {"email": email, "password": password})

    def who(self) -> p.User:
        """Whoever the token belongs to, with the role of this moment."""
        return self._get("/api/session", p.User)

    def sign_out(self) -> None:
        self._send("DELETE", "/api/session")

    # what campaigns are made of
    def senders(self) -> list[p.Sender]:
        return self._get("/api/senders", p.Page[p.Sender]).items

    def templates(self) -> list[p.Template]:
        return self._get("/api/templates", p.Page[p.Template]).items

    def purposes(self) -> list[p.Purpose]:
        return self._get("/api/purposes", p.Page[p.Purpose]).items

    def upload_media(self, sender_id: str, filename: str, content: bytes, mime_type: str) -> p.Media:
        form, file = {"sender_id": sender_id}, (filename, content, mime_type)
        return self._decode(self._send("POST", "/api/media", form=form, file=file), p.Media)

    # campaigns
    def campaigns(self, *, status: str = "", q: str = "", limit: int = 50, cursor: str = "") -> p.Page[Campaign]:
        return self._get("/api/campaigns", p.Page[Campaign], status=status, q=q, limit=limit, cursor=cursor)

    def campaign(self, campaign_id: str) -> Campaign:
        return self._get(f"/api/campaigns/{quote(campaign_id, safe='')}", Campaign)

    def create_campaign(self, body: Json, key: str) -> Campaign:
        return self._post("/api/campaigns", Campaign, body, key)

    def review(self, campaign_id: str) -> Review:
        return self._post(f"/api/campaigns/{campaign_id}/review", Review, {})

    def launch(self, campaign_id: str, fingerprint: str, key: str) -> None:
        self._send("POST", f"/api/campaigns/{campaign_id}/launch", body={"fingerprint": fingerprint}, key=key)

    def schedule(self, campaign_id: str, fingerprint: str, send_at: str, key: str) -> None:
        body: Json = {"fingerprint": fingerprint, "send_at": send_at}
        self._send("POST", f"/api/campaigns/{campaign_id}/schedule", body=body, key=key)

    def change_campaign(self, campaign_id: str, body: Json) -> Campaign:
        return self._decode(self._send("PATCH", f"/api/campaigns/{campaign_id}", body=body), Campaign)

    def discard_campaign(self, campaign_id: str) -> None:
        self._send("DELETE", f"/api/campaigns/{campaign_id}")

    def pause(self, campaign_id: str) -> None:
        self._send("POST", f"/api/campaigns/{campaign_id}/pause", body={})

    def resume_sender(self, sender_id: str) -> None:
        self._send("POST", f"/api/senders/{sender_id}/resume", body={})

    def decide_canary(self, campaign_id: str, verdict: str) -> None:
        """`go` lets the rest out, `stop` takes it back for good."""
        self._send("POST", f"/api/campaigns/{campaign_id}/canary", body={"verdict": verdict})

    def messages(self, campaign_id: str, status: str, limit: int) -> list[Message]:
        return self._get(f"/api/campaigns/{campaign_id}/messages", p.Page[Message], status=status, limit=limit).items

    def settle(self, campaign_id: str, older_than_minutes: int, *, dry_run: bool) -> int:
        """Give up on unknown messages; a dry run only counts them."""
        body: Json = {"older_than_minutes": older_than_minutes, "dry_run": dry_run}
        return self._post(f"/api/campaigns/{campaign_id}/settle", Settled, body).messages

    def resume(self, campaign_id: str) -> None:
        self._send("POST", f"/api/campaigns/{campaign_id}/resume", body={})

    def cancel(self, campaign_id: str, reason: str) -> None:
        self._send("POST", f"/api/campaigns/{campaign_id}/cancel", body={"reason": reason})

    def send_test(self, campaign_id: str, phone: str, variant: str) -> None:
        self._send("POST", f"/api/campaigns/{campaign_id}/test", body={"phone": phone, "variant": variant})

    # audiences and imports
    def audiences(self) -> list[p.Audience]:
        return self._get("/api/audiences", p.Page[p.Audience], limit=200).items

    def create_audience(self, name: str, rule: Json, key: str) -> p.Audience:
        return self._post("/api/audiences", p.Audience, {"name": name, "kind": "rule", "rule": rule}, key)

    def preview(self, rule: Json, purpose: str) -> p.Preview:
        return self._post("/api/audiences/preview", p.Preview, {"rule": rule, "purpose": purpose})

    def imports(self) -> list[p.Import]:
        return self._get("/api/imports", p.Page[p.Import], limit=50).items

    def import_(self, import_id: str) -> p.Import:
        return self._get(f"/api/imports/{quote(import_id, safe='')}", p.Import)

    def import_reasons(self, import_id: str) -> list[p.ImportReason]:
        return self._get(f"/api/imports/{import_id}/reasons", list[p.ImportReason])

    def preview_import(self, filename: str, content: bytes, options: Json) -> p.FilePreview:
        form = {"options": json.dumps(options)}
        return self._decode(
            self._send("POST", "/api/imports/preview", form=form, file=(filename, content)), p.FilePreview
        )

    def import_statement(self) -> p.Statement:
        return self._get("/api/imports/statement", p.Statement)

    def steer_import(self, import_id: str, what: str, body: Json | None = None) -> p.Import:
        """`what`: confirm (with an attestation where one is needed), pause, resume, cancel or undo."""
        return self._decode(self._send("POST", f"/api/imports/{quote(import_id, safe='')}/{what}", body=body), p.Import)

    def rejects(self, import_id: str) -> bytes:
        return self._send("GET", f"/api/imports/{import_id}/rejects.csv")

    def start_import(self, filename: str, content: bytes, options: Json, key: str) -> p.Import:
        form = {"options": json.dumps(options)}
        return self._decode(self._send("POST", "/api/imports", form=form, file=(filename, content), key=key), p.Import)

    # webhooks
    def webhook_overview(self) -> p.WebhookOverview:
        return self._get("/api/webhooks", p.WebhookOverview)

    def account_events(self, *, severity: str = "", q: str = "", limit: int = 50) -> p.Page[p.AccountEvent]:
        path = "/api/webhooks/account-events"
        return self._get(path, p.Page[p.AccountEvent], severity=severity, q=q, limit=limit)

    def webhooks_set_aside(self, *, q: str = "", limit: int = 50) -> p.Page[p.SetAside]:
        return self._get("/api/webhooks/set-aside", p.Page[p.SetAside], q=q, limit=limit)

    def orphans(self, *, q: str = "", limit: int = 50) -> p.Page[p.Orphan]:
        return self._get("/api/webhooks/orphans", p.Page[p.Orphan], q=q, limit=limit)

    def webhook_fields(self, *, unknown_only: bool, q: str = "") -> list[p.WebhookField]:
        known = "false" if unknown_only else ""
        return self._get("/api/webhooks/fields", p.Page[p.WebhookField], known=known, q=q).items

    def webhooks_csv(self, what: str, **filters: str) -> bytes:
        """`what` is set-aside, orphans, fields or account-events."""
        return self._download(f"/api/webhooks/{what}.csv", **filters)

    def replay_webhooks(self, body: Json) -> p.Replayed:
        return self._post("/api/webhooks/replay", p.Replayed, body)

    # compliance
    def ledger(self) -> p.Ledger:
        return self._get("/api/ledger", p.Ledger)

    def find_contacts(self, phone: str) -> list[p.Person]:
        return self._get("/api/contacts", p.Page[p.Person], phone=phone, limit=20).items

    def consents(self, contact_id: str) -> p.ConsentTrail:
        return self._get(f"/api/contacts/{contact_id}/consents", p.ConsentTrail)

    def audits(self) -> list[p.Audit]:
        return self._get("/api/audits", p.Page[p.Audit], limit=50).items

    def evidence(self, contact_id: str, reason: str) -> list[p.Proof]:
        """What proves each record about a person; who looked and why is kept."""
        return self._get(f"/api/contacts/{contact_id}/evidence", list[p.Proof], reason=reason)

    def create_audit(self, body: Json, key: str) -> p.Audit:
        return self._post("/api/audits", p.Audit, body, key)

    def approve_audit(self, audit_id: str) -> None:
        self._send("POST", f"/api/audits/{audit_id}/approve", body={})

    def audit_package(self, audit_id: str) -> bytes:
        return self._send("GET", f"/api/audits/{audit_id}/download")

    # conversations
    def conversations(
        self,
        *,
        status: str = "",
        assignee: str = "",
        q: str = "",
        unread: bool = False,
        contact_id: str = "",
        limit: int = 20,
    ) -> p.Page[c.Conversation]:
        only = "true" if unread else None
        return self._get(
            "/api/conversations",
            p.Page[c.Conversation],
            status=status,
            assignee=assignee,
            q=q,
            unread=only,
            contact_id=contact_id,
            limit=limit,
        )

    def conversations_csv(self, filters: dict[str, str]) -> bytes:
        return self._download("/api/conversations/export.csv", **filters)

    def conversation(self, conversation_id: str) -> c.Conversation:
        return self._get(f"/api/conversations/{quote(conversation_id, safe='')}", c.Conversation)

    def thread(self, conversation_id: str, limit: int) -> p.Page[c.Line]:
        return self._get(f"/api/conversations/{conversation_id}/messages", p.Page[c.Line], limit=limit)

    def agents(self) -> list[c.Agent]:
        return self._get("/api/conversations/agents", p.Page[c.Agent]).items

    def answer(self, conversation_id: str, text: str, key: str, media_id: str | None = None) -> None:
        body: Json = {"text": text, "media_id": media_id}
        self._send("POST", f"/api/conversations/{conversation_id}/reply", body=body, key=key)

    def offers(self, conversation_id: str) -> list[c.Offer]:
        return self._get(f"/api/conversations/{conversation_id}/templates", p.Page[c.Offer]).items

    def send_template(self, conversation_id: str, template_id: str, parameters: dict[str, Json], key: str) -> None:
        body: Json = {"template_id": template_id, "parameters": parameters}
        self._send("POST", f"/api/conversations/{conversation_id}/template", body=body, key=key)

    def file_of(self, conversation_id: str, line_id: str) -> bytes:
        return self._send("GET", f"/api/conversations/{conversation_id}/messages/{line_id}/file")

    def act_on_conversation(self, conversation_id: str, verb: str, body: Json | None = None) -> c.Conversation:
        """`verb` is read, close, reopen or assign (with `user_id`)."""
        return self._post(f"/api/conversations/{conversation_id}/{verb}", c.Conversation, body or {})

    # automatic answers
    def rules(self) -> list[c.RoutingRule]:
        return self._get("/api/routing-rules", p.Page[c.RoutingRule]).items

    def add_rule(self, body: Json, key: str) -> c.RoutingRule:
        return self._post("/api/routing-rules", c.RoutingRule, body, key)

    def change_rule(self, rule_id: str, body: Json) -> None:
        self._send("PUT", f"/api/routing-rules/{rule_id}", body=body)

    def move_rule(self, rule_id: str, place: int) -> None:
        self._send("POST", f"/api/routing-rules/{rule_id}/move", body={"place": place})

    def remove_rule(self, rule_id: str) -> None:
        self._send("DELETE", f"/api/routing-rules/{rule_id}")

    def rehearse(self, body: Json) -> c.Rehearsal:
        return self._post("/api/routing-rules/rehearse", c.Rehearsal, body)

    def wordings(self) -> list[c.Wording]:
        return self._get("/api/reply-texts", p.Page[c.Wording]).items

    def put_wording(self, kind: str, language: str, body: str, buttons: list[str]) -> None:
        content: Json = {"body": body, "buttons": list(buttons)}
        self._send("PUT", f"/api/reply-texts/{kind}/{quote(language, safe='')}", body=content)

    def reset_wording(self, kind: str, language: str) -> None:
        self._send("DELETE", f"/api/reply-texts/{kind}/{language}")

    def holds(self, limit: int, q: str = "") -> p.Page[c.Hold]:
        return self._get("/api/holds", p.Page[c.Hold], limit=limit, q=q)

    def holds_csv(self, q: str) -> bytes:
        return self._download("/api/holds/export.csv", q=q)

    def decide_hold(self, contact_id: str, verb: str, reason: str) -> None:
        """`verb` is release or withdraw."""
        self._send("POST", f"/api/holds/{contact_id}/{verb}", body={"reason": reason})

    # webhooks we send
    def event_types(self) -> list[c.EventType]:
        return self._get("/api/hooks/event-types", p.Page[c.EventType]).items

    def hooks(self) -> list[c.Hook]:
        return self._get("/api/hooks", p.Page[c.Hook]).items

    def add_hook(self, body: Json, key: str) -> c.Hook:
        return self._post("/api/hooks", c.Hook, body, key)

    def change_hook(self, hook_id: str, body: Json) -> None:
        self._send("PUT", f"/api/hooks/{hook_id}", body=body)

    def remove_hook(self, hook_id: str) -> None:
        self._send("DELETE", f"/api/hooks/{hook_id}")

    def hook_secret(self, hook_id: str) -> str:
        return self._get(f"/api/hooks/{hook_id}/secret", c.Secret).secret

    def rotate_hook(self, hook_id: str) -> str:
        return self._post(f"/api/hooks/{hook_id}/rotate", c.Secret, {}).secret

    def act_on_hook(self, hook_id: str, verb: str, body: Json | None = None) -> None:
        """`verb` is enable, disable (with `reason`), test or replay."""
        self._send("POST", f"/api/hooks/{hook_id}/{verb}", body=body or {})

    def deliveries(self, hook_id: str, *, status: str, limit: int) -> p.Page[c.Delivery]:
        return self._get(f"/api/hooks/{hook_id}/deliveries", p.Page[c.Delivery], status=status, limit=limit)
