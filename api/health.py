"""Is it alive, and can it work?"""

from litestar import Controller, Response, get
from msgspec import Struct
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.state import Held, worker_alive
from core.clock import utc_now
from core.consent import ledger
from core.services import progress, recovery


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
        """Database, queue, worker, ledger and campaigns; 503 when the database or the queue is away.

        `campaigns` is `late` when a scheduled one has not begun a minute after its time.
        `ledger` is `restored` when the database has another one than was signed last: then marketing waits. It is
        `unsigned` when nobody signed it for ten minutes; after an hour marketing waits for that too.
        """
        checks: dict[str, str] = {}
        try:
            async with parts.sessions() as session:
                wrong = await recovery.differs(session, parts.keyring.witness.latest())
                is_forked = wrong is not None or await recovery.open_fork(session) is not None
                unsigned = await ledger.unsigned_since(session, before=utc_now() - ledger.UNSIGNED_ALARM)
                is_late = await progress.any_late(session, utc_now())
            checks |= {"postgres": "ok", "ledger": "restored" if is_forked else "unsigned" if unsigned else "ok"}
            checks["campaigns"] = "late" if is_late else "ok"
        except (SQLAlchemyError, OSError):
            checks |= {"postgres": "away", "ledger": "unknown", "campaigns": "unknown"}
        try:
            await parts.valkey.ping()
            checks["valkey"] = "ok"
            checks["worker"] = "ok" if await worker_alive(parts) else "away"
        except (RedisError, OSError):
            checks["valkey"] = "away"
            checks["worker"] = "unknown"
        usable = checks["postgres"] == "ok" and checks["valkey"] == "ok"
        is_whole = usable and all(checks[part] == "ok" for part in ("worker", "ledger", "campaigns"))
        status = "ready" if is_whole else "degraded"
        return Response(ReadyOut(status, checks), status_code=200 if usable else 503)
