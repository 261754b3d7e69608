"""The parts a running worker holds."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from arq import ArqRedis

from core.db import Sessions
from core.keys import Keyring
from core.models import Sender
from core.queue import Ringer
from core.settings import Settings
from core.whatsapp.client import WhatsAppClient
from worker.reach import Reach
from worker.rendering import Renderer
from worker.throttle import Starts

MOST_BATCHES = 10
CONNECTIONS = 30  # of the pool at most


@dataclass(frozen=True)
class Parts:
    """Made once at start, closed at the end."""

    settings: Settings
    sessions: Sessions
    valkey: ArqRedis
    doorbell: Ringer
    whatsapp: WhatsAppClient
    keyring: Keyring
    # A batch holds one connection while it takes a second, so fewer batches than connections may be in flight.
    batches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_BATCHES))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    # Campaigns for which the portfolio's allowance had nothing, and when to ask again, on the loop's clock.
    exhausted: dict[UUID, float] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)
    renderer: Renderer = field(init=False)
    _starts: dict[tuple[UUID, int], Starts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "renderer", Renderer(self.sessions))

    def starts_of(self, sender: Sender) -> Starts:
        """What this process started from a number; a number whose limit changed begins to count anew."""
        key = (sender.id, sender.messages_per_second)
        if key not in self._starts:
            self._starts[key] = Starts(sender.messages_per_second, clock=asyncio.get_running_loop().time)
        return self._starts[key]
