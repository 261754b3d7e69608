"""Who may come in, and who may do what: every role against every route."""

import asyncio
import re
import time
from datetime import timedelta
from uuid import UUID

import httpx
from litestar.routes import HTTPRoute
from sqlalchemy import select, update

from api.auth import MOST_PER_ADDRESS, MOST_PER_EMAIL
from core.clock import utc_now
from core.models import Session, User
from core.services import people
from core.statuses import Role
from tests.integration.stack import PASSWORD, Stack

MARKETING = {Role.MARKETER}
READ_MARKETING = {Role.MARKETER, Role.APPROVER, Role.ANALYST, Role.COMPLIANCE}
READ_PEOPLE = {Role.MARKETER, Role.APPROVER, Role.COMPLIANCE}
AUDIT = {Role.COMPLIANCE, Role.AUDITOR}
COMPLIANCE = {Role.COMPLIANCE}
PEOPLE = {Role.MARKETER, Role.COMPLIANCE}
EVERYBODY = set(Role)
NOBODY_ELSE: set[Role] = set()

# Route → roles besides admin, who may do everything.
ALLOWED: dict[str, set[Role]] = {
    "GET /api/session": EVERYBODY,
    "GET /api/senders": READ_MARKETING,
    "POST /api/senders": MARKETING,
    "PATCH /api/senders/{sender_id}": MARKETING,
    "POST /api/senders/{sender_id}/subscribe": MARKETING,
    "POST /api/senders/{sender_id}/pause": MARKETING,
    "POST /api/senders/{sender_id}/resume": MARKETING,
    "POST /api/media": MARKETING,
    "GET /api/templates": READ_MARKETING,
    "POST /api/templates": MARKETING,
    "POST /api/templates/sync": MARKETING,
    "GET /api/templates/{template_id}": READ_MARKETING,
    "GET /api/rates": READ_MARKETING,
    "POST /api/rates": MARKETING,
    "GET /api/imports": READ_PEOPLE,
    "POST /api/imports": MARKETING,
    "GET /api/imports/{import_id}": READ_PEOPLE,
    "GET /api/imports/{import_id}/rows": READ_PEOPLE,
    "GET /api/imports/statement": READ_PEOPLE,
    "GET /api/imports/{import_id}/approval": COMPLIANCE,
    "PUT /api/imports/{import_id}/sample/{row_number}": COMPLIANCE,
    "POST /api/imports/{import_id}/approve": COMPLIANCE,
    "POST /api/imports/{import_id}/refuse": COMPLIANCE,
    "GET /api/imports/{import_id}/reasons": READ_PEOPLE,
    "GET /api/imports/{import_id}/rejects.csv": READ_PEOPLE,
    "GET /api/audiences": READ_MARKETING,
    "POST /api/audiences": MARKETING,
    "POST /api/audiences/preview": MARKETING,
    "GET /api/audiences/{audience_id}": READ_MARKETING,
    "GET /api/audiences/{audience_id}/members": READ_PEOPLE,
    "GET /api/contacts": READ_PEOPLE,
    "GET /api/contacts/{contact_id}": READ_PEOPLE,
    "GET /api/contacts/{contact_id}/consents": READ_PEOPLE,
    "GET /api/contacts/{contact_id}/messages": READ_PEOPLE,
    "GET /api/contacts/{contact_id}/evidence": {Role.COMPLIANCE},
    "POST /api/consents": READ_PEOPLE,
    "GET /api/purposes": EVERYBODY,
    "GET /api/notices": EVERYBODY,
    "GET /api/ledger": AUDIT,
    "GET /api/invalidations": AUDIT,
    "GET /api/invalidations/preview": COMPLIANCE,
    "GET /api/invalidations/{invalidation_id}": AUDIT,
    "POST /api/invalidations": COMPLIANCE,
    "GET /api/audits": AUDIT,
    "POST /api/audits": {Role.COMPLIANCE},
    "POST /api/audits/{export_id}/approve": COMPLIANCE,
    "GET /api/audits/{export_id}": AUDIT,
    "GET /api/audits/{export_id}/download": AUDIT,
    "GET /api/campaigns": READ_MARKETING,
    "POST /api/campaigns": MARKETING,
    "GET /api/campaigns/{campaign_id}": READ_MARKETING,
    "PATCH /api/campaigns/{campaign_id}": MARKETING,
    "POST /api/campaigns/{campaign_id}/review": MARKETING,
    "POST /api/campaigns/{campaign_id}/launch": MARKETING,
    "POST /api/campaigns/{campaign_id}/schedule": MARKETING,
    "POST /api/campaigns/{campaign_id}/pause": MARKETING,
    "POST /api/campaigns/{campaign_id}/resume": MARKETING,
    "POST /api/campaigns/{campaign_id}/cancel": MARKETING,
    "POST /api/campaigns/{campaign_id}/settle": MARKETING,
    "POST /api/campaigns/{campaign_id}/canary": MARKETING,
    "DELETE /api/campaigns/{campaign_id}": MARKETING,
    "POST /api/campaigns/{campaign_id}/test": MARKETING,
    "GET /api/campaigns/{campaign_id}/messages": READ_PEOPLE,
    "GET /api/webhooks": READ_MARKETING,
    "GET /api/webhooks/set-aside": READ_MARKETING,
    "GET /api/webhooks/events/{webhook_id}": {Role.COMPLIANCE},
    "GET /api/webhooks/orphans": READ_MARKETING,
    "GET /api/webhooks/fields": READ_MARKETING,
    "GET /api/webhooks/account-events": READ_MARKETING,
    "POST /api/webhooks/replay": MARKETING,
    "POST /api/conversions": MARKETING,
    "GET /api/events": READ_MARKETING,
    "POST /api/events": MARKETING,
    "GET /api/metrics": READ_MARKETING,
    "GET /api/lake": READ_MARKETING,
    "POST /api/lake/refresh": READ_MARKETING,
    "DELETE /api/attributes/{name}": PEOPLE,
    "DELETE /api/audiences/{audience_id}": MARKETING,
    "DELETE /api/contacts/{contact_id}": COMPLIANCE,
    "DELETE /api/hooks/{hook_id}": NOBODY_ELSE,
    "DELETE /api/reply-texts/{kind}/{language}": PEOPLE,
    "DELETE /api/routing-rules/{rule_id}": MARKETING,
    "GET /api/attributes": READ_PEOPLE,
    "GET /api/audit-log": AUDIT,
    "GET /api/campaigns/{campaign_id}/proof": AUDIT,
    "GET /api/consents/overview": AUDIT,
    "GET /api/contacts/erased": COMPLIANCE,
    "GET /api/contacts/{contact_id}/access": COMPLIANCE,
    "GET /api/contacts/{contact_id}/portability": COMPLIANCE,
    "GET /api/contacts/{contact_id}/profile": READ_PEOPLE,
    "GET /api/contacts/{contact_id}/timeline": READ_PEOPLE,
    "GET /api/conversations": READ_PEOPLE,
    "GET /api/conversations/agents": READ_PEOPLE,
    "GET /api/conversations/export.csv": READ_PEOPLE,
    "GET /api/conversations/{conversation_id}/templates": READ_PEOPLE,
    "POST /api/conversations/{conversation_id}/template": MARKETING,
    "GET /api/conversations/{conversation_id}/messages/{line_id}/file": READ_PEOPLE,
    "GET /api/users": NOBODY_ELSE,
    "POST /api/users": NOBODY_ELSE,
    "PATCH /api/users/{user_id}": NOBODY_ELSE,
    "GET /api/keys": NOBODY_ELSE,
    "POST /api/keys": NOBODY_ELSE,
    "POST /api/keys/{key_id}/revoke": NOBODY_ELSE,
    "POST /api/templates/{template_id}/submit": MARKETING,
    "DELETE /api/templates/{template_id}": MARKETING,
    "GET /api/rates/cards": READ_MARKETING,
    "GET /api/holds/export.csv": COMPLIANCE,
    "GET /api/webhooks/set-aside.csv": READ_MARKETING,
    "GET /api/webhooks/orphans.csv": READ_MARKETING,
    "GET /api/webhooks/fields.csv": READ_MARKETING,
    "GET /api/webhooks/account-events.csv": READ_MARKETING,
    "GET /api/conversations/{conversation_id}": READ_PEOPLE,
    "GET /api/conversations/{conversation_id}/messages": READ_PEOPLE,
    "GET /api/data-requests": COMPLIANCE,
    "GET /api/data-requests/{request_id}": COMPLIANCE,
    "GET /api/forms": PEOPLE,
    "GET /api/forms/{form_id}": PEOPLE,
    "GET /api/forms/{form_id}/qr.svg": PEOPLE,
    "GET /api/holds": COMPLIANCE,
    "GET /api/hooks": READ_MARKETING,
    "GET /api/hooks/event-types": READ_MARKETING,
    "GET /api/hooks/{hook_id}/deliveries": READ_MARKETING,
    "GET /api/hooks/{hook_id}/secret": NOBODY_ELSE,
    "GET /api/ledger/checkpoints/{size}": AUDIT,
    "POST /api/ledger/recover": COMPLIANCE,
    "GET /api/ledger/integrity": AUDIT,
    "GET /api/registry-drafts": EVERYBODY,
    "GET /api/reply-texts": READ_PEOPLE,
    "GET /api/routing-rules": READ_PEOPLE,
    "PATCH /api/audiences/{audience_id}": MARKETING,
    "PATCH /api/contacts/{contact_id}": PEOPLE,
    "PATCH /api/forms/{form_id}": COMPLIANCE,
    "POST /api/audiences/cost": MARKETING,
    "POST /api/audiences/{audience_id}/count": READ_MARKETING,
    "POST /api/contacts/bulk": PEOPLE,
    "POST /api/contacts/{contact_id}/merge": PEOPLE,
    "POST /api/conversations/{conversation_id}/assign": MARKETING,
    "POST /api/conversations/{conversation_id}/close": MARKETING,
    "POST /api/conversations/{conversation_id}/read": MARKETING,
    "POST /api/conversations/{conversation_id}/reopen": MARKETING,
    "POST /api/conversations/{conversation_id}/reply": MARKETING,
    "POST /api/data-requests": COMPLIANCE,
    "POST /api/data-requests/{request_id}/close": COMPLIANCE,
    "POST /api/data-requests/{request_id}/extend": COMPLIANCE,
    "POST /api/data-requests/{request_id}/proof": COMPLIANCE,
    "POST /api/forms": COMPLIANCE,
    "POST /api/holds/{contact_id}/place": COMPLIANCE,
    "POST /api/holds/{contact_id}/release": COMPLIANCE,
    "POST /api/holds/{contact_id}/withdraw": COMPLIANCE,
    "POST /api/hooks": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/deliveries/{delivery_id}/replay": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/disable": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/enable": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/replay": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/rotate": NOBODY_ELSE,
    "POST /api/hooks/{hook_id}/test": NOBODY_ELSE,
    "DELETE /api/sources/{source_id}": NOBODY_ELSE,
    "GET /api/sources": READ_MARKETING,
    "GET /api/sources/fields": READ_MARKETING,
    "GET /api/sources/{source_id}": READ_MARKETING,
    "GET /api/sources/{source_id}/deliveries": READ_MARKETING,
    "GET /api/sources/{source_id}/deliveries.csv": READ_MARKETING,
    "GET /api/sources/{source_id}/deliveries/{delivery_id}/body": NOBODY_ELSE,
    "POST /api/sources": NOBODY_ELSE,
    "POST /api/sources/try": NOBODY_ELSE,
    "POST /api/sources/{source_id}/deliveries/{delivery_id}/replay": NOBODY_ELSE,
    "POST /api/sources/{source_id}/disable": NOBODY_ELSE,
    "POST /api/sources/{source_id}/enable": NOBODY_ELSE,
    "POST /api/sources/{source_id}/replay": NOBODY_ELSE,
    "POST /api/sources/{source_id}/rotate": NOBODY_ELSE,
    "POST /api/sources/{source_id}/try": NOBODY_ELSE,
    "PUT /api/sources/{source_id}": NOBODY_ELSE,
    "POST /api/imports/preview": MARKETING,
    "POST /api/imports/{import_id}/cancel": MARKETING,
    "POST /api/imports/{import_id}/confirm": MARKETING,
    "POST /api/imports/{import_id}/pause": MARKETING,
    "POST /api/imports/{import_id}/resume": MARKETING,
    "POST /api/imports/{import_id}/undo": MARKETING,
    "POST /api/ledger/anchors": COMPLIANCE,
    "POST /api/ledger/verify": COMPLIANCE,
    "POST /api/registry-drafts": COMPLIANCE,
    "POST /api/registry-drafts/{draft_id}/publish": COMPLIANCE,
    "POST /api/registry-drafts/{draft_id}/reject": COMPLIANCE,
    "POST /api/routing-rules": MARKETING,
    "POST /api/routing-rules/rehearse": READ_PEOPLE,
    "POST /api/routing-rules/{rule_id}/move": MARKETING,
    "PUT /api/attributes/{name}": PEOPLE,
    "PUT /api/hooks/{hook_id}": NOBODY_ELSE,
    "PUT /api/reply-texts/{kind}/{language}": PEOPLE,
    "PUT /api/routing-rules/{rule_id}": MARKETING,
}
# Whoever comes may use these; sessions end with the last.
OPEN = {
    "POST /api/session",
    "GET /webhooks/whatsapp",
    "GET /r/{code}",
    "HEAD /r/{code}",
    "GET /o/{slug}",
    "POST /o/{slug}",
}
OPEN |= {"GET /health/live", "GET /health/ready", "DELETE /api/session"}


def routes(stack: Stack) -> set[str]:
    """Every route of the product; the documentation's pages left out."""
    return {
        f"{method} {route.path_format}"
        for route in stack.api.routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith(("/api", "/webhooks", "/r/", "/o/", "/health"))
        for method in route.methods
        if method != "OPTIONS"
    }


async def ask(client: httpx.AsyncClient, route: str) -> httpx.Response:
    """The route with ids nobody has, and no body: nothing is changed by it."""
    method, path = route.split(" ")
    path = re.sub(r"\{(webhook_id|size|row_number)\}", str(2**62), path)  # the only numbers among the ids
    path = "/".join(str(UUID(int=0)) if part.startswith("{") else part for part in path.split("/"))
    return await client.request(method, path)


async def test_every_role_gets_into_its_routes_and_no_others(stack: Stack) -> None:
    assert routes(stack) == set(ALLOWED) | OPEN

    wrong = []
    for role in Role:
        client = await stack.sign_in(role)
        for route, roles in ALLOWED.items():
            answer = await ask(client, route)
            refused = answer.status_code == 403
            assert answer.status_code != 401
            if refused != (role is not Role.ADMIN and role not in roles):
                wrong.append(f"{role}: {route} → {answer.status_code}")
    assert wrong == []


async def test_a_stranger_gets_in_nowhere(stack: Stack) -> None:
    token = stack.client.headers["authorization"].removeprefix("Bearer ")
    bad = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {token}",
        token,
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
        "Bearer kairan_x",
    ]
    for route in ALLOWED:
        stack.client.headers.pop("authorization", None)
        assert (await ask(stack.client, route)).status_code == 401, route
    for header in bad:
        answer = await stack.client.get("/api/session", headers={"authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), header
        assert answer.headers["content-type"] == "application/problem+json"
        assert "sign in" in answer.json()["detail"] or "API key" in answer.json()["detail"]


async def test_what_has_ended_opens_nothing(stack: Stack) -> None:
    async def refused(client: httpx.AsyncClient) -> bool:
        return (await client.get("/api/purposes")).status_code == 401

    analyst, approver, auditor = [await stack.sign_in(r) for r in (Role.ANALYST, Role.APPROVER, Role.AUDITOR)]
    async with stack.sessions.begin() as session:
        _, secret = await people.add_key(session, name="shop", role=Role.MARKETER, created_by=None)
    program = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)
    program.headers["authorization"] = f"Bearer {secret}"
    assert [await refused(client) for client in (analyst, approver, auditor, program)] == [False] * 4

    async with stack.sessions.begin() as session:
        await people.revoke_key(session, secret[:14], now=utc_now())
        mine = User.email == "analyst@example.org"
        session_of = Session.user_id.in_(select(User.id).where(mine))
        await session.execute(update(Session).where(session_of).values(expires_at=utc_now() - timedelta(seconds=1)))
        # Only the flag: a session that was not deleted must not open anything either.
        await session.execute(update(User).where(User.email == "approver@example.org").values(disabled_at=utc_now()))
    await auditor.delete("/api/session")

    assert [await refused(client) for client in (analyst, approver, auditor, program)] == [True] * 4
    again = await approver.post("/api/session", json={"email": "approver@example.org", "password": PASSWORD})
    assert again.status_code == 401


async def test_guessing_passwords_is_stopped_even_when_many_guesses_come_at_once(stack: Stack) -> None:
    async def guess(password: str, email: str = "marketer@example.org") -> httpx.Response:
        return await stack.client.post("/api/session", json={"email": email, "password": password})

    answers = await asyncio.gather(*(guess(f"wrong {n}") for n in range(3 * MOST_PER_EMAIL)))
    told = sorted(answer.status_code for answer in answers)
    assert told == [401] * MOST_PER_EMAIL + [429] * 2 * MOST_PER_EMAIL
    throttled = await guess(PASSWORD)
    assert throttled.status_code == 429
    assert 0 < throttled.json()["retry_after_s"] <= 900
    assert int(throttled.headers["retry-after"]) == throttled.json()["retry_after_s"]
    assert "minutes" in throttled.json()["detail"]
    # Upper case and blanks do not make it another person.
    assert (await guess(PASSWORD, " MARKETER@example.org ")).status_code == 429


async def test_people_who_know_their_password_do_not_use_up_the_address_they_share(stack: Stack) -> None:
    shared = "signin:address:127.0.0.1"
    await stack.parts.valkey.set(shared, MOST_PER_ADDRESS - 1, ex=60)
    for _ in range(3):
        answer = await stack.client.post("/api/session", json={"email": "marketer@example.org", "password": PASSWORD})
        assert answer.status_code == 201


async def test_an_unknown_address_takes_as_long_as_a_known_one_and_is_told_the_same(stack: Stack) -> None:
    async def took(email: str) -> tuple[float, dict[str, object]]:
        began = time.perf_counter()
        answer = await stack.client.post("/api/session", json={"email": email, "password": "wrong password"})
        return time.perf_counter() - began, answer.json()

    known = [await took("marketer@example.org") for _ in range(4)]
    unknown = [await took(f"nobody{n}@example.org") for n in range(4)]

    assert known[0][1] == unknown[0][1]
    # Without the hash of nobody an unknown address would answer in a hundredth of the time.
    assert min(seconds for seconds, _ in unknown) > 0.3 * min(seconds for seconds, _ in known)
