"""The product's API with a webhook door that keeps nothing: the floor of `ingest`, and nothing else."""

from litestar import Litestar

from api.app import Wiring, create_app
from api.ingest import Ingest
from core.collector import look_seldom
from core.settings import get_settings


class NoStore(Ingest):
    async def put(self, body: bytes) -> None:
        """Nothing."""


def app() -> Litestar:
    made = create_app(Wiring(get_settings()))

    async def open_door() -> None:
        kept: Ingest = made.state.ingest
        await kept.stop()
        made.state.ingest = NoStore(kept.sessions, kept.ringer)

    made.on_startup.append(open_door)
    look_seldom()
    return made
