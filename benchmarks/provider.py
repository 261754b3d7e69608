"""The simulated provider's own log: what it accepted and refused, and when; the other side of every comparison."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from benchmarks.harness import POLL_S, Stack, until
from core.errors import Unavailable

PAGE = 10_000


@dataclass(frozen=True)
class Accepted:
    """One request the provider took on; `at` is Unix seconds, `label` our message id, `last` its newest status."""

    sequence: int
    at: float
    label: str
    to: str
    number: str
    reports: int


class Provider:
    """The inspection API of the simulator."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def accepted(self, after: int = -1) -> list[Accepted]:
        """Everything accepted behind a sequence, in order."""
        found: list[Accepted] = []
        start: int | None = after
        while start is not None:
            page = (await self.http.get("/_sandbox/messages", params={"after": start, "limit": PAGE})).json()
            found += [_accepted(item) for item in page["items"]]
            start = page["next"]
        return found

    async def until_accepted(self, count: int, behind: int = -1) -> None:
        """Wait until so many were accepted behind a sequence; costs the same however many there are."""
        last = {"after": behind + count - 1, "limit": 1}

        async def is_there() -> bool:
            return bool((await self.http.get("/_sandbox/messages", params=last)).json()["items"])

        await until(is_there)

    async def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/_sandbox/summary")).json()
        return found

    async def refused(self, code: int) -> int:
        return int((await self.summary())["refused_by_code"].get(str(code), 0))

    async def until_settled(self, within_s: float) -> None:
        """Wait until nothing is due, waiting or under way; raises Unavailable when that takes too long."""
        ends = time.monotonic() + within_s
        while not (await self.summary())["settled"]:
            if time.monotonic() > ends:
                raise Unavailable(f"the simulator has not settled within {within_s:.0f} s")
            await asyncio.sleep(5 * POLL_S)


def _accepted(item: dict[str, Any]) -> Accepted:
    return Accepted(
        sequence=item["sequence"],
        at=datetime.fromisoformat(item["accepted_at"]).timestamp(),
        label=item["biz_opaque_callback_data"] or "",
        to=item["to"],
        number=item["phone_number_id"],
        reports=len(item["statuses"]),
    )


@asynccontextmanager
async def provider(stack: Stack) -> AsyncIterator[Provider]:
    async with httpx.AsyncClient(base_url=stack.settings.whatsapp_url, timeout=60.0, trust_env=False) as http:
        yield Provider(http)


def per_second(instants: Sequence[float]) -> float:
    """Events per second between the first and the last; 0 for fewer than two."""
    span = instants[-1] - instants[0] if len(instants) > 1 else 0.0
    return (len(instants) - 1) / span if span else 0.0


def fullest_window(instants: Sequence[float], width_s: float = 1.0) -> int:
    """The most events in any half-open window [t, t + width), wherever it starts; instants are sorted."""
    return max((bisect_left(instants, at + width_s) - place for place, at in enumerate(instants)), default=0)
