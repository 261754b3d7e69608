"""Is it alive, and can it work?"""

from litestar import Controller, Response, get
from msgspec import Struct
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.state import Held, worker_alive


class LiveOut(Struct):
    status: str


class ReadyOut(Struct):
    status: str  # ready, or degraded: answering, but a part is missing
    checks: dict[str, str]


class HealthController(Controller):
    path = "/health"
    tags = ("Health",)

    @get("/live", exclude_from_auth=True)
    async def live(self) -> LiveOut:
        """The process answers."""
        return LiveOut("alive")

    @get("/ready", exclude_from_auth=True)
    async def ready(self, parts: Held) -> Response[ReadyOut]:
        """Database, queue and worker; 503 when the database or the queue is away."""
        checks: dict[str, str] = {}
        try:
            async with parts.sessions() as session:
                await session.execute(text("SELECT 1"))
            checks["postgres"] = "ok"
        except (SQLAlchemyError, OSError):
            checks["postgres"] = "away"
        try:
            await parts.valkey.ping()
            checks["valkey"] = "ok"
            checks["worker"] = "ok" if await worker_alive(parts) else "away"
        except (RedisError, OSError):
            checks["valkey"] = "away"
            checks["worker"] = "unknown"
        usable = checks["postgres"] == "ok" and checks["valkey"] == "ok"
        status = "ready" if usable and checks["worker"] == "ok" else "degraded"
        return Response(ReadyOut(status, checks), status_code=200 if usable else 503)
