"""Things tests need, made through the API."""

import io
import json
from collections.abc import Sequence
from typing import Any

from tests.integration.stack import Stack

NUMBER = {
    "phone_number_id": "200000000000002",
    "waba_id": "100000000000001",
    "display_number": "+15550001111",
    "name": "Demo Store",
}
OFFER = [
    {
        "type": "BODY",
        "text": "Hello {{1}}, everything is {{2}} off until Sunday.",
        "example": {"body_text": [["Ana", "20 %"]]},
    },
    {
        "type": "BUTTONS",
        "buttons": [
            {"type": "URL", "text": "Shop now", "url": "http://kairan.test/{{1}}", "example": ["r/abc"]},
            {"type": "QUICK_REPLY", "text": "Stop promotions"},
        ],
    },
]
FILLED = {
    "body.1": {"source": "contact.name", "fallback": "friend"},
    "body.2": {"text": "20 %"},
    "button.0": {"link": "https://shop.example/sale?utm=wa"},
    "button.1": {"payload": "optout:marketing"},
}


async def a_sender(stack: Stack, **changes: Any) -> dict[str, Any]:
    """A registered number whose webhooks come to the API."""
    answer = await stack.client.post("/api/senders", json={**NUMBER, **changes})
    assert answer.status_code == 201, answer.text
    sender: dict[str, Any] = answer.json()
    subscribed = await stack.client.post(f"/api/senders/{sender['id']}/subscribe")
    assert subscribed.status_code == 200, subscribed.text
    return sender


async def a_template(stack: Stack, sender: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A template the provider has approved."""
    body = {"sender_id": sender["id"], "name": "spring_offer", "language": "en", "components": OFFER, **changes}
    answer = await stack.client.post("/api/templates", json=body)
    assert answer.status_code == 201, answer.text
    await stack.settle()
    template: dict[str, Any] = (await stack.client.get(f"/api/templates/{answer.json()['id']}")).json()
    assert template["status"] == "approved"
    return template


def csv_of(rows: Sequence[dict[str, str]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    target = io.StringIO()
    target.write(",".join(columns) + "\n")
    for row in rows:
        target.write(",".join(row.get(name, "") for name in columns) + "\n")
    return target.getvalue().encode()


def consenting(phone: str, **changes: str) -> dict[str, str]:
    """A row with complete evidence of an opt-in."""
    row = {
        "phone": phone,
        "name": "Ana",
        "action": "opt_in",
        "occurred_at": "2026-05-01T09:30:00+02:00",
        "method": "web_form",
        "collection_point": "checkout",
        "notice_id": "default",
        "source_record_id": f"form-{phone}",
        "evidence_ref": f"s3://forms/{phone}.json",
    }
    return {**row, **changes}


VOUCHED = {"role": "CRM manager"}  # what an upload says so that its opt-ins are recorded


async def an_import(stack: Stack, content: bytes, **options: Any) -> dict[str, Any]:
    """A file, worked to its end."""
    answer = await stack.client.post(
        "/api/imports",
        files={"file": ("people.csv", content, "text/csv")},
        data={"options": json.dumps({"region": "DE", "attestation": VOUCHED, **options})},
    )
    assert answer.status_code == 201, answer.text
    await stack.work()
    done: dict[str, Any] = (await stack.client.get(f"/api/imports/{answer.json()['id']}")).json()
    return done


async def an_audience(stack: Stack, rule: dict[str, Any] | None = None, name: str = "Everybody") -> dict[str, Any]:
    body = {"name": name, "kind": "rule", "rule": rule or {"all": []}}
    answer = await stack.client.post("/api/audiences", json=body)
    assert answer.status_code == 201, answer.text
    audience: dict[str, Any] = answer.json()
    return audience


async def a_campaign(
    stack: Stack, sender: dict[str, Any], template: dict[str, Any], audience: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    body = {
        "name": "Spring",
        "sender_id": sender["id"],
        "audience_id": audience["id"],
        "variants": [{"label": "A", "template_id": template["id"], "parameters": FILLED}],
        **changes,
    }
    answer = await stack.client.post("/api/campaigns", json=body)
    assert answer.status_code == 201, answer.text
    campaign: dict[str, Any] = answer.json()
    return campaign


async def launched(stack: Stack, campaign: dict[str, Any]) -> dict[str, Any]:
    """Reviewed and launched; the rows are sent when the jobs run."""
    review = await stack.client.post(f"/api/campaigns/{campaign['id']}/review")
    assert review.status_code == 200, review.text
    answer = await stack.client.post(
        f"/api/campaigns/{campaign['id']}/launch", json={"fingerprint": review.json()["fingerprint"]}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
