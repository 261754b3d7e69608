"""The parts a running worker holds."""

import asyncio
from dataclasses import dataclass, field

from arq import ArqRedis

from core.db import Sessions
from core.keys import Keyring
from core.queue import Ringer
from core.settings import Settings
from core.whatsapp.client import WhatsAppClient


@dataclass(frozen=True)
class Parts:
    """Made once at start, closed at the end."""

    settings: Settings
    sessions: Sessions
    valkey: ArqRedis
    doorbell: Ringer
    whatsapp: WhatsAppClient
    keyring: Keyring
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
