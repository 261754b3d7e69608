"""The simulated installation: its parts, held together."""

import asyncio
from urllib.parse import urlsplit

import httpx
import msgspec

from sandbox import payloads
from sandbox.clock import Clock
from sandbox.config import SandboxConfig, WebhookConfig
from sandbox.dice import Dice
from sandbox.faults import Faults
from sandbox.people import PROFILES, People, Profile
from sandbox.scheduler import Scheduler
from sandbox.state import Message, Number, Person, Status, Store, Template, Waba
from sandbox.webhooks import Update, Webhooks

_VISITS_AT_ONCE = 32
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Sandbox:
    """All parts of one simulation. `store` is its memory; everything else decides what happens to it."""

    def __init__(
        self,
        config: SandboxConfig,
        *,
        clock: Clock,
        webhook_client: httpx.AsyncClient,
        click_client: httpx.AsyncClient,
        clicks_anywhere: bool,
    ) -> None:
        self.config, self.clock = config, clock
        self.click_client, self._clicks_anywhere = click_client, clicks_anywhere
        self._webhook_client = webhook_client
        self.dice = Dice(config.seed)
        self.profile = PROFILES[config.profile]
        self.people = People(self.dice, self.profile)
        self.scheduler = Scheduler(clock)
        self.faults = Faults(clock, self.dice)
        self.store = Store(config)
        self.transport = _filled(config.webhooks, self.profile)
        self.webhooks = Webhooks(
            self.transport,
            app_secret=config.app_secret,
            time_scale=config.time_scale,
            clock=clock,
            scheduler=self.scheduler,
            dice=self.dice,
            client=webhook_client,
        )
        self.tasks: set[asyncio.Task[None]] = set()
        self.visits = asyncio.Semaphore(_VISITS_AT_ONCE)

    async def run(self) -> None:
        """Start events and verify the callback."""
        self.scheduler.start()
        await self.webhooks.verify_app()

    async def close(self) -> None:
        """Stop what is under way, and close the clients."""
        self.scheduler.stop()
        await self._stop_visits()
        await self.webhooks.close()
        await self._webhook_client.aclose()
        await self.click_client.aclose()

    async def reset(self, *, keep_templates: bool) -> None:
        """Forget messages, people, media, faults and deliveries; the callback stays verified if it was."""
        templates = self.store.templates
        self.scheduler.clear()
        await self._stop_visits()
        await self.webhooks.forget()
        self.store = Store(self.config)
        self.faults.replace({})
        if keep_templates:
            for template in templates.values():
                template.waba = self.store.wabas[template.waba.config.id]
                template.held, template.sent = [], 0
                self.store.templates[template.id] = template
                template.waba.templates[template.name, template.language] = template

    async def _stop_visits(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def later(self, virtual_s: float) -> float:
        """The instant `virtual_s` virtual seconds from now."""
        return self.clock.now() + virtual_s / self.config.time_scale

    def hidden(self, person: Person) -> bool:
        """Whether this person's phone number is withheld from the business."""
        return "." in person.wa_id or self.people.traits(person).hidden_phone

    # --- what webhooks are told -------------------------------------------------------------------------------------

    def contact_json(self, person: Person, number: Number, *, username: bool) -> str:
        """The `contacts[]` entry of a person."""
        return payloads.contact(person, self.people.name(person), number, hidden=self.hidden(person), username=username)

    def reached(
        self, message: Message, status: Status, code: int = 0, *, at_once: bool = False,
        pricing: dict[str, object] | None = None, error: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        """Record that a message reached a status and say so."""
        now = self.clock.now()
        store, before = self.store, message.outcome
        message.record(status, now, code)
        store.moved(message, before)
        if code:
            store.failures[code] += 1
        number = message.number
        if self.webhooks.target_for(number.waba, number, "messages") is None:
            return
        hidden = self.hidden(message.person)
        item = payloads.status(
            message, self.store.wamid(message.sequence), status,
            payloads.timestamp(now, self.transport.millisecond_timestamps), hidden=hidden, pricing=pricing, error=error,
        )  # fmt: skip
        contact = None
        if status is not Status.FAILED:
            contact = self.contact_json(message.person, number, username=status is not Status.SENT)
        self.webhooks.say(
            Update(number.waba, number, "messages", "statuses", item, contact, now), may_disorder=True, at_once=at_once
        )

    def say_value(self, waba: Waba, number: Number | None, field: str, value: str) -> None:
        """Say a whole `value` (JSON text) of any field."""
        self.webhooks.say(Update(waba, number, field, None, value, None, self.clock.now()))

    def say_template(self, template: Template, event: str, reason: str | None = "NONE", **extra: object) -> None:
        """Say that a template's status changed."""
        value = payloads.template_status(template, event, reason, extra)
        self.say_value(template.waba, None, "message_template_status_update", value)

    def may_visit(self, url: str) -> bool:
        """Whether a simulated person may open this link: loopback and the hosts allowed in the configuration."""
        host = urlsplit(url).hostname
        return (
            self._clicks_anywhere
            or self.config.click_base_url is not None
            or host in _LOOPBACK
            or host in self.config.click_hosts
        )


def _filled(config: WebhookConfig, profile: Profile) -> WebhookConfig:
    """The transport settings with the profile's probabilities where none is set."""
    return msgspec.structs.replace(
        config,
        duplicate_probability=_or(config.duplicate_probability, profile.duplicates),
        disorder_probability=_or(config.disorder_probability, profile.disorder),
        early_status_probability=_or(config.early_status_probability, profile.early),
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
