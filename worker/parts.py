"""The parts a running worker holds."""

import asyncio
from dataclasses import dataclass, field

from arq import ArqRedis

from core.db import Sessions
from core.keys import Keyring
from core.queue import Ringer
from core.settings import Settings
from core.whatsapp.client import WhatsAppClient
from worker.rendering import Renderer

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
    renderer: Renderer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "renderer", Renderer(self.sessions))
