"""The demo's steps, each through the product's HTTP API as one of its users would do it."""

import asyncio
import json
import time
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from cli.api_client import ApiClient, Json
from cli.demo_account import DISPLAY_NUMBER, PHONE_NUMBER_ID, WABA_ID, DemoAccount
from cli.demo_data import COUNTRIES, File
from cli.demo_sandbox import STOP_PAYLOAD
from cli.demo_shop import URL
from cli.picture import tea_hills
from core.errors import Conflict, Unavailable
from core.settings import Settings
from core.statuses import Role

MESSAGES_PER_MINUTE = 4800  # 80 a second, what a new number may send
PRICES = {"DE": 0.11, "BR": 0.06, "MX": 0.03, "ES": 0.06, "GB": 0.05, "IN": 0.01, "JP": 0.08, "ID": 0.04}
APPROVAL_TIMEOUT_S = 60.0
POLL_S = 0.2


@dataclass
class Team:
    """Four people, each signed in with the rights of a role."""

    marketer: ApiClient
    analyst: ApiClient
    compliance: ApiClient
    admin: ApiClient

    @classmethod
    async def sign_in(cls, settings: Settings, account: DemoAccount) -> Self:
        async def client(role: Role) -> ApiClient:
            return await ApiClient.signed_in(settings.own_api_url, account.email(role), account.passwords[role])

        roles = (Role.MARKETER, Role.ANALYST, Role.COMPLIANCE, Role.ADMIN)
        return cls(*await asyncio.gather(*(client(role) for role in roles)))

    async def aclose(self) -> None:
        await asyncio.gather(*(each.aclose() for each in (self.marketer, self.analyst, self.compliance, self.admin)))


async def sender(team: Team) -> Json:
    """The simulated business number, registered by the first run; its webhooks are asked for by every run."""
    known = await team.admin.items("/api/senders")
    found = next((each for each in known if each["phone_number_id"] == PHONE_NUMBER_ID), None)
    if found is None:
        number = {"phone_number_id": PHONE_NUMBER_ID, "waba_id": WABA_ID, "display_number": DISPLAY_NUMBER}
        found = await team.admin.post("/api/senders", number | {"name": "Tea shop", "messages_per_second": 80})
    await team.admin.post(f"/api/senders/{found['id']}/subscribe")
    return found


async def rate_card(team: Team, currency: str) -> None:
    """Prices of a marketing message per market: made up for the demo, so that reports show costs."""
    lines = ["market,category,currency,price,effective_from"]
    lines += [f"{code},marketing,{currency},{price},2026-01-01" for code, price in PRICES.items()]
    await team.marketer.upload(
        "/api/rates", ("demo data: made-up prices", BytesIO("\n".join(lines).encode()), "text/csv"), {}
    )


async def notice_id(team: Team) -> str:
    """What people were shown when they agreed: the installation's published notice."""
    notices = await team.compliance.items("/api/notices")
    if not notices:
        raise Conflict("the installation has no published notice to import consents under")
    return str(notices[0]["id"])


async def start_import(team: Team, file: File) -> Json:
    content = ("tea-lovers.csv", BytesIO(file.content), "text/csv")
    options = {"region": "DE", "attestation": {"role": "CRM manager"}}
    return await team.marketer.upload("/api/imports", content, {"options": json.dumps(options)})


async def approve_import(team: Team, work: Json) -> tuple[Json, int]:
    """The second person opens the sample's proofs and lets the file in; the import, and how many rows they opened."""
    path = f"/api/imports/{work['id']}"
    rows = (await team.compliance.get(f"{path}/approval"))["sample"]
    for row in rows:
        await team.compliance.put(f"{path}/sample/{row['row_number']}", {"finding": "proven"})
    return await team.compliance.post(f"{path}/approve"), len(rows)


async def templates(team: Team, sender_id: str, run: int, links_url: str) -> list[Json]:
    """Two templates, submitted and approved: one with a picture and a tracked button, one with quick replies."""
    picture = await team.marketer.upload(
        "/api/media", ("tea-hills.png", BytesIO(tea_hills()), "image/png"), {"sender_id": sender_id}
    )
    tracked = {
        "type": "URL",
        "text": "See the teas",
        "url": links_url + "/{{1}}",
        "example": [f"{links_url}/r/example"],
    }
    text = "Hello {{1}}, it is tea week: {{2}} off every green tea until Sunday."
    image = {
        "name": f"tea_week_{run}",
        "header_media_id": picture["id"],
        "components": [
            {"type": "HEADER", "format": "IMAGE"},
            {"type": "BODY", "text": text, "example": {"body_text": [["Ana", "20 %"]]}},
            {"type": "FOOTER", "text": "Write STOP and we stop."},
            {"type": "BUTTONS", "buttons": [tracked]},
        ],
    }
    question = "Hello {{1}}, do you still like {{2}}? It is tea week, and we have kept some for you."
    replies = [{"type": "QUICK_REPLY", "text": text} for text in ("Tell me more", "Stop promotions")]
    quick = {
        "name": f"tea_question_{run}",
        "components": [
            {"type": "BODY", "text": question, "example": {"body_text": [["Ana", "sencha"]]}},
            {"type": "BUTTONS", "buttons": [*replies, tracked]},
        ],
    }
    common = {"sender_id": sender_id, "language": "en", "category": "marketing", "purpose": "marketing"}
    submitted = [
        await team.marketer.post("/api/templates", common | {"parameter_format": "positional"} | each)
        for each in (image, quick)
    ]
    approved = [await _approved(team, each) for each in submitted]
    return [each | {"media_id": picture["id"]} for each in approved]


async def _approved(team: Team, template: Json) -> Json:
    """Wait for the provider's verdict, which comes by webhook."""
    deadline = time.monotonic() + APPROVAL_TIMEOUT_S
    while template["status"] in ("draft", "pending"):
        if time.monotonic() > deadline:
            raise Unavailable(f"template {template['name']} was not approved within {APPROVAL_TIMEOUT_S:.0f} s")
        await asyncio.sleep(POLL_S)
        template = await team.marketer.get(f"/api/templates/{template['id']}")
    if template["status"] != "approved":
        raise Conflict(f"template {template['name']} is {template['status']}: {template['status_reason']}")
    return template


async def audience(team: Team, import_id: str, run: int) -> Json:
    """Everybody of the file who lives in one of the eight countries, may they be messaged or not."""
    rule = {"all": [{"import": import_id}, {"field": "country", "op": "in", "value": [c.code for c in COUNTRIES]}]}
    return await team.marketer.post("/api/audiences", {"name": f"Tea lovers, run {run}", "kind": "rule", "rule": rule})


async def campaign(team: Team, sender_id: str, audience_id: str, approved: list[Json], run: int) -> Json:
    """An A/B test of the two templates with one person in twenty held out."""
    name = {"source": "contact.name", "fallback": "friend"}
    image, quick = approved
    variants = [
        {
            "label": "picture",
            "weight": 1,
            "template_id": image["id"],
            "parameters": {
                "header": {"media_id": image["media_id"]},
                "body.1": name,
                "body.2": {"text": "20 %"},
                "button.0": {"link": URL},
            },
        },
        {
            "label": "question",
            "weight": 1,
            "template_id": quick["id"],
            "parameters": {
                "body.1": name,
                "body.2": {"source": "contact.attributes.favourite_tea", "fallback": "green tea"},
                "button.0": {"payload": "more:teas"},
                "button.1": {"payload": STOP_PAYLOAD},
                "button.2": {"link": URL},
            },
        },
    ]
    body = {
        "name": f"Tea week {run}",
        "purpose": "marketing",
        "sender_id": sender_id,
        "audience_id": audience_id,
        "holdout": 0.05,
        "messages_per_minute": MESSAGES_PER_MINUTE,
        "quiet_from": None,
        "quiet_until": None,
        "variants": variants,
    }
    return await team.marketer.post("/api/campaigns", body, idempotency_key=f"demo-{run}")


async def launch(team: Team, campaign_id: str, review: Json) -> Json:
    """Launch exactly what was reviewed; raises Conflict when the review found something that must not go out."""
    errors = [problem["message"] for problem in review["problems"] if problem["severity"] == "error"]
    if errors:
        raise Conflict(f"the review found: {'; '.join(errors)}")
    return await team.marketer.post(f"/api/campaigns/{campaign_id}/launch", {"fingerprint": review["fingerprint"]})
