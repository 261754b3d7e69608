"""Webhook transport: verification, batching, signing, delivery, retries.

Facts from Meta's "Webhooks overview" and "Create a webhook endpoint": a callback is verified by a GET handshake; a
POST carries up to 1000 updates and 3 MB; anything but 200 is repeated at once and then ever more slowly for up to 7
days, the whole batch each time; POSTs are concurrent, unordered and sometimes doubled. The signature is
`X-Hub-Signature-256: sha256=` and the HMAC-SHA256 of the exact bytes under the app secret.
"""

import asyncio
import hmac
import logging
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import httpx
import msgspec

from sandbox.clock import Clock
from sandbox.config import WebhookConfig
from sandbox.dice import Dice
from sandbox.payloads import metadata, to_json
from sandbox.scheduler import Scheduler
from sandbox.state import Number, Waba

log = logging.getLogger("sandbox.webhooks")
_KEPT_ATTEMPTS, _KEPT_TIMES = 1000, 10_000
_HANDSHAKE_PAUSE_S = 0.5


def sign(secret: str, body: bytes) -> str:
    """The value of `X-Hub-Signature-256` for a body."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


@dataclass(slots=True, eq=False)
class Target:
    """A callback URL and the updates that wait for it. Refused targets get nothing until subscribed again."""

    url: str
    verify_token: str
    state: Literal["unverified", "verified", "refused"] = "unverified"
    waiting: "deque[Update]" = field(default_factory=deque)
    flush_planned: bool = False
    problem: str | None = None


@dataclass(slots=True)
class Update:
    """One status, one message, or a whole `value` (when `kind` is None), already encoded."""

    waba: Waba
    number: Number | None
    field: str
    kind: Literal["statuses", "messages"] | None
    item: str
    contact: str | None
    created_at: float


@dataclass(slots=True)
class Post:
    """A batch on its way; retries repeat the same bytes."""

    id: int
    target: Target
    body: bytes
    signature: str | None
    updates: int
    created_at: float
    oldest_at: float
    attempts: int = 0
    copy_of: int | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One POST that was made; `status` is None when there was no answer."""

    post_id: int
    attempt: int
    copy_of: int | None
    url: str
    at: float
    updates: int
    bytes: int
    status: int | None
    error: str | None
    took_ms: float


class Metrics(msgspec.Struct):
    """What became of the updates and POSTs so far. `lag` is from the event to its first delivery, `post` one POST."""

    updates_built: int = 0
    updates_delivered: int = 0
    updates_lost: int = 0
    updates_dropped_unverified: int = 0
    posts_delivered: int = 0
    posts_failed: int = 0
    duplicates_sent: int = 0


class Webhooks:
    """Carries updates to the callbacks: one queue a target, at most `max_concurrent_posts` POSTs at a time."""

    def __init__(
        self,
        config: WebhookConfig,
        *,
        app_secret: str,
        time_scale: float,
        clock: Clock,
        scheduler: Scheduler,
        dice: Dice,
        client: httpx.AsyncClient,
    ) -> None:
        self._config, self._secret, self._scale = config, app_secret, time_scale
        self._clock, self._scheduler, self._dice, self._client = clock, scheduler, dice, client
        self.app_target = Target(config.url, config.verify_token) if config.url else None
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT_ATTEMPTS)
        self.metrics = Metrics()
        self._ready: deque[Post] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._post_ids = self._disorder_count = 0
        self._took_ms: deque[float] = deque(maxlen=_KEPT_TIMES)
        self._lag_ms: deque[float] = deque(maxlen=_KEPT_TIMES)

    # --- what the simulation says -----------------------------------------------------------------------------------

    def target_for(self, waba: Waba, number: Number | None, field_name: str) -> Target | None:
        """Who gets an update: number before account before app; overrides concern `messages` only."""
        if not waba.subscribed:
            return None
        if field_name == "messages":
            override = (number.target if number else None) or waba.target
            if override is not None:
                return override
        return self.app_target

    def say(self, update: Update, *, may_disorder: bool = False, at_once: bool = False) -> None:
        """Queue an update for its callback; without one it is forgotten."""
        target = self.target_for(update.waba, update.number, update.field)
        if target is None:
            return
        self.metrics.updates_built += 1
        disorder = self._config.disorder_probability
        if may_disorder and disorder:
            self._disorder_count += 1
            draws = self._dice.draws("webhooks", "disorder", self._disorder_count)
            if draws.happens(disorder):
                due = self._clock.now() + draws.between(0.2, 3) / max(1.0, self._scale)
                self._scheduler.at(due, self._enqueue, target, update)
                return
        self._enqueue(target, update)
        if at_once:
            self._flush(target)

    def say_raw(self, target: Target, body: bytes, signature: str | None) -> int:
        """Send exactly these bytes with this signature header (None: no header); returns the POST's id."""
        post = self._post(target, body, signature, updates=1, oldest_at=self._clock.now())
        self._start(post)
        return post.id

    def wrap(self, waba: Waba, field_name: str, value: dict[str, object]) -> bytes:
        """The bytes of a POST with one change."""
        update = Update(waba, None, field_name, None, to_json(value), None, self._clock.now())
        return envelope([update], self._clock.now(), escape_slashes=self._config.escape_slashes)

    def _enqueue(self, target: Target, update: Update) -> None:
        if target.state == "refused":
            self.metrics.updates_dropped_unverified += 1
            return
        target.waiting.append(update)
        if len(target.waiting) >= self._config.max_updates:
            self._flush(target)
        elif not target.flush_planned:
            target.flush_planned = True
            self._scheduler.at(self._clock.now() + self._config.max_wait_ms / 1000, self._flush_planned, target)

    def _flush_planned(self, target: Target) -> None:
        target.flush_planned = False
        self._flush(target)

    def _flush(self, target: Target) -> None:
        while target.waiting and target.state == "verified":
            size = 0
            batch: list[Update] = []
            while target.waiting and len(batch) < self._config.max_updates:
                size += len(target.waiting[0].item) + len(target.waiting[0].contact or "") + 200
                if batch and size > self._config.max_bytes:
                    break
                batch.append(target.waiting.popleft())
            body = envelope(batch, self._clock.now(), escape_slashes=self._config.escape_slashes)
            post = self._post(target, body, sign(self._secret, body), len(batch), batch[0].created_at)
            self._start(post)
            self._maybe_double(post)

    # --- delivery ---------------------------------------------------------------------------------------------------

    def _post(self, target: Target, body: bytes, signature: str | None, updates: int, oldest_at: float) -> Post:
        self._post_ids += 1
        return Post(self._post_ids, target, body, signature, updates, self._clock.now(), oldest_at)

    def _maybe_double(self, post: Post) -> None:
        share = self._config.duplicate_probability
        if not share:
            return
        draws = self._dice.draws("webhooks", "duplicate", post.id)
        if draws.happens(share):
            copy = self._post(post.target, post.body, post.signature, post.updates, post.oldest_at)
            copy.copy_of = post.id
            self.metrics.duplicates_sent += 1
            self._scheduler.at(self._clock.now() + draws.lognormal(1.0, 1.0) / self._scale, self._start, copy)

    def _start(self, post: Post) -> None:
        self._ready.append(post)
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._tasks) < self._config.max_concurrent_posts:
            task = asyncio.get_running_loop().create_task(self._deliver(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._pump()

    async def _deliver(self, post: Post) -> None:
        headers = {"content-type": "application/json", "user-agent": "facebookexternalua"}
        if post.signature is not None:
            headers["x-hub-signature-256"] = post.signature
        post.attempts += 1
        began, status, problem = time.perf_counter(), None, None
        try:
            response = await self._client.post(
                post.target.url, content=post.body, headers=headers, timeout=self._config.timeout_s
            )
            status = response.status_code
        except Exception as error:  # a receiver running inside this process may raise anything at all
            problem = f"{type(error).__name__}: {error}"
        took = (time.perf_counter() - began) * 1000
        now = self._clock.now()
        self.attempts.append(
            Attempt(
                post.id, post.attempts, post.copy_of, post.target.url, now, post.updates, len(post.body), status,
                problem, round(took, 3),
            )
        )  # fmt: skip
        self._took_ms.append(took)
        if status == 200:
            self.metrics.posts_delivered += 1
            if post.copy_of is None:
                self.metrics.updates_delivered += post.updates
                self._lag_ms.append((now - post.oldest_at) * 1000)
            return
        self.metrics.posts_failed += 1
        self._retry(post, now)

    def _retry(self, post: Post, now: float) -> None:
        """At once after the first failure, then exponentially with jitter until the horizon."""
        wait = 0.0
        if post.attempts > 1:
            jitter = self._dice.draws("webhooks", f"retry-{post.attempts}", post.id).between(0.5, 1.5)
            wait = min(self._config.retry_cap_s, self._config.retry_first_s * 2 ** min(post.attempts - 2, 30)) * jitter
        due = now + wait / self._scale
        if due - post.created_at > self._config.retry_horizon_s / self._scale:
            self.metrics.updates_lost += 0 if post.copy_of else post.updates
            log.warning("webhook.lost post=%d updates=%d", post.id, post.updates)
        else:
            self._scheduler.at(due, self._start, post)

    # --- verification -----------------------------------------------------------------------------------------------

    async def verify(self, target: Target) -> bool:
        """The GET handshake: True when the callback answered 200 with the challenge.

        Marks the target verified or refused; without any answer it stays as it was and `problem` says why.
        """
        challenge = str(secrets.randbelow(10**10))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": target.verify_token}
        try:
            response = await self._client.get(target.url, params=query, timeout=self._config.timeout_s)
        except Exception as error:  # a receiver running inside this process may raise anything at all
            target.problem = f"{type(error).__name__}: {error}"
            return False
        if response.status_code >= 500:
            target.problem = f"HTTP Status Code = {response.status_code}"
            return False
        if response.status_code == 200 and response.text == challenge:
            target.state, target.problem = "verified", None
            self._flush(target)
            return True
        target.state = "refused"
        target.problem = (
            "Response does not match challenge"
            if response.status_code == 200
            else f"HTTP Status Code = {response.status_code}"
        )
        self.metrics.updates_dropped_unverified += len(target.waiting)
        target.waiting.clear()
        return False

    async def verify_app(self) -> None:
        """Verify the app's callback, waiting for it to come up; updates wait meanwhile."""
        target = self.app_target
        while target is not None and not await self.verify(target):
            if target.state == "refused":
                log.warning("webhook.refused url=%s reason=%s", target.url, target.problem)
                return
            await asyncio.sleep(_HANDSHAKE_PAUSE_S)

    # --- looking at it ----------------------------------------------------------------------------------------------

    def pending(self) -> dict[str, int]:
        """POSTs being made or ready to be made; retries wait in the scheduler."""
        return {"posts_in_flight": len(self._tasks), "posts_ready": len(self._ready)}

    def latencies(self) -> dict[str, float]:
        """Median and 99th percentile in milliseconds of one POST, and of the oldest event in it until its 200."""
        return {
            "post_ms_median": _quantile(self._took_ms, 0.5),
            "post_ms_p99": _quantile(self._took_ms, 0.99),
            "lag_ms_median": _quantile(self._lag_ms, 0.5),
            "lag_ms_p99": _quantile(self._lag_ms, 0.99),
        }

    async def forget(self) -> None:
        """Drop what waits or is under way, and the record of deliveries; the callback stays as verified as it was."""
        self._ready.clear()
        await self.close()
        if self.app_target is not None:
            self.app_target.waiting.clear()
            self.app_target.flush_planned = False
        self.attempts.clear()
        self._took_ms.clear()
        self._lag_ms.clear()
        self.metrics = Metrics()

    async def close(self) -> None:
        """Stop delivering."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def envelope(batch: list[Update], now: float, *, escape_slashes: bool) -> bytes:
    """The bytes of a POST: updates grouped by account, then by number and kind.

    Account-type fields stand in an entry of their own, which has `time` and whose values have no `metadata`.
    """
    entries: dict[tuple[str, bool], dict[tuple[str, str, str | None], list[Update]]] = {}
    whole: dict[tuple[str, bool], list[str]] = {}
    for update in batch:
        waba_id, of_account = update.waba.config.id, update.number is None
        changes = whole.setdefault((waba_id, of_account), [])
        if update.kind is None:
            changes.append(f'{{"value":{update.item},"field":{to_json(update.field)}}}')
        else:
            number_id = update.number.config.id if update.number else ""
            groups = entries.setdefault((waba_id, of_account), {})
            groups.setdefault((number_id, update.field, update.kind), []).append(update)
    for key, groups in entries.items():
        whole[key].extend(_change(group) for group in groups.values())
    texts = []
    for (waba_id, of_account), changes in whole.items():
        when = f'"time":{int(now)},' if of_account else ""
        texts.append(f'{{"id":"{waba_id}",{when}"changes":[{",".join(changes)}]}}')
    body = f'{{"object":"whatsapp_business_account","entry":[{",".join(texts)}]}}'
    return (body.replace("/", "\\/") if escape_slashes else body).encode("ascii")


def _change(group: list[Update]) -> str:
    first = group[0]
    assert first.number is not None
    contacts = list(dict.fromkeys(update.contact for update in group if update.contact is not None))
    people = f'"contacts":[{",".join(contacts)}],' if contacts else ""
    return (
        f'{{"value":{{"messaging_product":"whatsapp","metadata":{to_json(metadata(first.number))},{people}'
        f'"{first.kind}":[{",".join(update.item for update in group)}]}},"field":"{first.field}"}}'
    )


def _quantile(values: deque[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else 0.0
