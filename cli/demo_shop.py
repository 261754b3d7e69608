"""The demo's shop: people who came through a tracked link buy something, and the shop reports it to the product."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from cli.api_client import ApiClient, Json
from cli.demo_sandbox import SandboxLog

URL = "https://shop.example/tea-week"
BUYERS, REFUNDS, REPEATS = 0.11, 0.15, 0.2  # shares: of visitors, of orders, of reports sent twice


class Shop:
    """Reads who visited, and posts orders and refunds with the code that came with the visit."""

    def __init__(self, log: SandboxLog, api: ApiClient, *, currency: str, run: int) -> None:
        self.log, self.api, self.currency, self.run = log, api, currency, run
        self.visitors: set[str] = set()
        self.orders, self.refunds = 0, 0
        self.recorded = {"recorded": 0, "duplicates": 0, "unmatched": 0}
        self._seen = -1

    async def open_a_while(self) -> None:
        """Serve whoever came since last time."""
        visits = await self.log.clicks(self._seen)
        if not visits:
            return
        self._seen = visits[-1]["sequence"]
        items = [item for visit in visits for item in self._bought(visit)]
        if items:
            answer = await self.api.post("/api/conversions", {"items": items})
            for name in self.recorded:
                self.recorded[name] += answer[name]

    def _bought(self, visit: Json) -> Iterator[Json]:
        """Reports caused by one visit; a person decides once. Some reports are sent twice, as shops do."""
        code = link_code(visit["location"] or "")
        if visit["bot"] or code is None or visit["wa_id"] in self.visitors:
            return
        self.visitors.add(visit["wa_id"])
        chance = random.Random(f"shop {self.run} {visit['wa_id']}")  # noqa: S311 - made-up orders, no secrets
        if chance.random() >= BUYERS:
            return
        self.orders += 1
        order_id = f"T{self.run}-{self.orders:05d}"
        order: Json = {
            "kind": "order",
            "order_id": order_id,
            "occurred_at": datetime.now(UTC).isoformat(),
            "amount_micros": chance.randrange(12_00, 95_00) * 10_000,
            "currency": self.currency,
            "link_code": code,
        }
        yield order
        if chance.random() < REPEATS:
            yield order
        if chance.random() < REFUNDS:
            self.refunds += 1
            yield order | {"kind": "refund", "refund_id": f"R-{order_id}", "amount_micros": order["amount_micros"] // 2}


def link_code(location: str) -> str | None:
    """The code a tracked link adds to the shop's address, or None."""
    values = parse_qs(urlsplit(location).query).get("kairan_code")
    return values[0] if values else None
