"""What a marketer does before a campaign goes out, through the product's HTTP API."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx

from benchmarks.harness import FIRST_NUMBER, POLL_S, WABA, Stack, until
from core.errors import Unavailable

Json = dict[str, Any]

LONG_S = 1800.0  # reviewing a million people takes minutes
APPROVED_WITHIN_S = 30.0
TEMPLATE = "bench_offer"
COMPONENTS: list[Json] = [
    {
        "type": "BODY",
        "text": "Hello {{1}}, everything is {{2}} off until Sunday.",
        "example": {"body_text": [["Ana", "20 %"]]},
    },
    {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Stop promotions"}]},
]
PARAMETERS: Json = {
    "body.1": {"source": "contact.name", "fallback": "friend"},
    "body.2": {"text": "20 %"},
    "button.0": {"payload": "optout:marketing"},
}
EVERYBODY: Json = {"field": "country", "op": "in", "value": ["DE"]}  # where the benchmark's people live


class Office:
    """The signed-in marketer; every method raises Unavailable with the API's words when it refuses."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = await self.http.request(method, path, json=body)
        if not answer.is_success:
            raise Unavailable(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        found: Json = answer.json()
        return found

    async def sender(self, messages_per_second: int, place: int = 0) -> Json:
        """Register the `place`-th number at this throughput; its webhooks come to the API."""
        number = {
            "phone_number_id": str(FIRST_NUMBER + place),
            "waba_id": WABA,
            "display_number": f"+1555000{place:04}",
            "name": f"Benchmark {place}",
            "messages_per_second": messages_per_second,
        }
        made = await self.call("POST", "/api/senders", number)
        await self.call("POST", f"/api/senders/{made['id']}/subscribe")
        return made

    async def template(self, sender: Json) -> Json:
        """A template with two words to fill in, approved."""
        body = {"sender_id": sender["id"], "name": TEMPLATE, "language": "en", "components": COMPONENTS}
        found = await self.call("POST", "/api/templates", body)
        ends = time.monotonic() + APPROVED_WITHIN_S
        while found["status"] != "approved":
            if time.monotonic() > ends:
                raise Unavailable(f"the template is {found['status']} after {APPROVED_WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)
            found = await self.call("GET", f"/api/templates/{found['id']}")
        return found

    async def audience(self, rule: Json = EVERYBODY) -> Json:
        return await self.call("POST", "/api/audiences", {"name": "Everybody", "kind": "rule", "rule": rule})

    async def campaign(self, sender: Json, template: Json, audience: Json) -> Json:
        """A draft, reviewed: `fingerprint` is the review's."""
        variant = {"label": "A", "template_id": template["id"], "parameters": PARAMETERS}
        body = {"name": "Benchmark", "sender_id": sender["id"], "audience_id": audience["id"], "variants": [variant]}
        made = await self.call("POST", "/api/campaigns", body)
        review = await self.call("POST", f"/api/campaigns/{made['id']}/review")
        return {**made, "fingerprint": review["fingerprint"], "reachable": review["reachable"]}

    async def launch(self, campaign: Json) -> None:
        body = {"fingerprint": campaign["fingerprint"]}
        await self.call("POST", f"/api/campaigns/{campaign['id']}/launch", body)

    async def warm_up(self) -> None:
        """Have the lake refreshed once, so that a fresh worker has loaded what it loads in its first minute."""
        before = await self.call("GET", "/api/lake")
        await self.call("POST", "/api/lake/refresh")

        async def is_newer() -> bool:
            return bool((await self.call("GET", "/api/lake"))["updated_at"] != before["updated_at"])

        async with asyncio.timeout(LONG_S):
            await until(is_newer)


@asynccontextmanager
async def office(stack: Stack) -> AsyncIterator[Office]:
    headers = {"authorization": f"Bearer {stack.api_key}"}
    url = stack.settings.own_api_url
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=LONG_S, trust_env=False) as http:
        yield Office(http)


async def until_expanded(stack: Stack, campaign: Json) -> None:
    """Wait until every recipient has a row. Looks at the campaign's row alone: counting rows would disturb."""
    over = "SELECT status <> 'expanding' FROM campaigns WHERE id = $1"
    async with stack.database() as database:
        await until(lambda: database.fetchval(over, UUID(campaign["id"])))


async def until_sent(stack: Stack, campaign: Json) -> None:
    """Wait until no row is queued or sending."""
    over = "SELECT NOT EXISTS (SELECT FROM messages WHERE campaign_id = $1 AND phase IN ('queued', 'sending'))"
    await until_expanded(stack, campaign)
    async with stack.database() as database:
        await until(lambda: database.fetchval(over, UUID(campaign["id"])))


async def until_recorded(stack: Stack) -> None:
    """Wait until every webhook that came has been recorded."""
    over = "SELECT NOT EXISTS (SELECT FROM webhook_events WHERE status = 'waiting')"
    async with stack.database() as database:
        await until(lambda: database.fetchval(over))
