"""What the simulated WhatsApp saw: its own log, against which the demo checks the product."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import httpx

from cli.api_client import Json
from cli.demo_data import match
from core.errors import Unavailable

STOP_WORDS = {"STOP", "STOPP", "BAJA", "ALTO", "SAIR", "PARAR", "停止", "ARRET"}  # as its people write them
STOP_PAYLOAD = "stop:promo"
STOPPED_MARKETING = "131050"  # Meta: "User has stopped marketing messages", failed after an in-app stop
PAGE = 5000


class SandboxLog:
    """The inspection API of the simulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def summary(self) -> Json:
        found: Json = await self._get("/_sandbox/summary")
        return found

    async def clicks(self, after: int) -> list[Json]:
        """Visits to links, by sequence, beginning behind `after` (-1: all)."""
        found: list[Json] = await self._get("/_sandbox/clicks", after=after, limit=PAGE)
        return found

    async def inbound(self) -> list[Json]:
        """Everything people wrote or tapped."""
        found: list[Json] = []
        while page := await self._get("/_sandbox/inbound", after=len(found) - 1, limit=PAGE):
            found += page
        return found

    async def messages(self) -> list[Json]:
        """Every message the simulator accepted."""
        found: list[Json] = []
        after: int | None = -1
        while after is not None:
            page = await self._get("/_sandbox/messages", after=after, limit=PAGE)
            found += page["items"]
            after = page["next"]
        return found

    async def _get(self, path: str, **query: int) -> Any:
        try:
            answer = await self._http.get(path, params=query)
            answer.raise_for_status()
        except httpx.HTTPError as lost:
            raise Unavailable(
                f"the simulated WhatsApp at {self.url} does not answer: look into logs/sandbox.log"
            ) from lost
        return answer.json()


def is_settled(summary: Json) -> bool:
    """Nothing is going to happen any more: no event due, no webhook and no click under way."""
    pending = summary["pending"]
    return not any(count for name, count in pending.items() if isinstance(count, int) and name != "next_event_at")


@dataclass(frozen=True)
class Evidence:
    """What the simulator's log says about one run."""

    accepted: int
    duplicates_sent: int
    to_opted_out: int
    stopped: frozenset[str]  # who wrote STOP or tapped it in this run, as `match` makes keys


def weigh(messages: list[Json], inbound: list[Json], summary: Json, *, opted_out_before: frozenset[str]) -> Evidence:
    """Count what must not have happened.

    A duplicate is a second template message to a person, or a second one with the same correlation id. A message
    to an opted-out person went to somebody who had said no in the file or in an earlier run, went out a second or
    more after the person's own STOP, or failed because the person had stopped marketing in the app.
    """
    templates = [message for message in messages if message["type"] == "template"]
    per_person = Counter(match(message["wa_id"]) for message in templates)
    per_label = Counter(message["biz_opaque_callback_data"] for message in templates)
    duplicates = max(sum(n - 1 for n in per_person.values()), sum(n - 1 for n in per_label.values()))
    stopped_at: dict[str, float] = {}
    for said in inbound:
        if is_stop(said):
            stopped_at.setdefault(match(said["wa_id"]), said["at"])
    to_opted_out = sum(
        match(message["wa_id"]) in opted_out_before or match(message["to"]) in opted_out_before for message in templates
    )
    to_opted_out += sum(
        _seconds(message["accepted_at"]) > stopped_at.get(match(message["wa_id"]), float("inf")) + 1
        for message in templates
    )
    to_opted_out += summary["failures_by_code"].get(STOPPED_MARKETING, 0)
    return Evidence(len(templates), duplicates, to_opted_out, frozenset(stopped_at))


def is_stop(said: Json) -> bool:
    if said["payload"] is not None:
        return bool(said["payload"] == STOP_PAYLOAD)
    return (said["text"] or "").strip(" .!").upper() in STOP_WORDS


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
