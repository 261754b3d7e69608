"""WorkerSettings: jobs, cron, start and end."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvloop
from arq import Worker, cron, func
from arq.worker import Function

from core import queue
from core.collector import look_seldom
from core.db import make_engine, make_sessions
from core.errors import SettingsError
from core.keys import Keyring
from core.log import set_up_logging
from core.settings import Settings, get_settings
from core.whatsapp.calls import CallBudget
from core.whatsapp.client import WhatsAppClient
from worker import (
    counting,
    expanding,
    exporting,
    files,
    hooks,
    importing,
    invalidating,
    keeping,
    lake,
    recording,
    sending,
)
from worker.parts import CONNECTIONS, Parts

log = structlog.get_logger()

Job = Callable[..., Awaitable[Any]]

STOP_WITHIN_S = 15  # requests in flight end within 5 s
LONG_S = 6 * 3600
EVERY_2_S = set(range(0, 60, 2))
EVERY_10_S = set(range(0, 60, 10))
EVERY_5_MIN = set(range(0, 60, 5))


async def start(ctx: dict[str, Any]) -> None:
    """Connect everything; raises SettingsError when something is not set."""
    settings: Settings = ctx["settings"]
    engine = make_engine(settings.database_url, pool_size=CONNECTIONS)
    pool = await queue.connect(settings.valkey_url)
    ctx["engine"] = engine
    ctx["parts"] = Parts(
        settings=settings,
        sessions=make_sessions(engine),
        valkey=pool,
        doorbell=queue.Doorbell(pool),
        whatsapp=WhatsAppClient.connect(
            settings.whatsapp_url,
            settings.whatsapp_access_token,
            version=settings.whatsapp_version,
            app_id=settings.whatsapp_app_id,
            connections=2 * settings.worker_concurrency,
            budget=CallBudget(pool),
            transport=ctx.get("provider"),
        ),
        keyring=Keyring.load(settings.data_dir),
    )
    log.info("worker.started")


async def end(ctx: dict[str, Any]) -> None:
    parts: Parts = ctx["parts"]
    await parts.whatsapp.aclose()
    await parts.valkey.aclose()
    await ctx["engine"].dispose()
    log.info("worker.stopped")


def kept(name: str, job: Job) -> Function:
    """The job under its name, in this worker's hands while it runs."""

    async def run(ctx: dict[str, Any], *arguments: str) -> Any:
        parts: Parts = ctx["parts"]
        async with queue.in_hand(parts.valkey, queue.Bell(name, arguments)):
            return await job(ctx, *arguments)

    return func(run, name=name, timeout=LONG_S)


def make_worker(settings: Settings, **arguments: Any) -> Worker:
    """An arq worker with every job. Long jobs look at `parts.stopping` and end early when it is set."""
    if not settings.database_url or not settings.valkey_url:
        raise SettingsError("set KAIRAN_DATABASE_URL and KAIRAN_VALKEY_URL, or start everything with `kairan up`")
    return Worker(
        functions=[
            kept(queue.EXPAND_CAMPAIGN, expanding.expand_campaign),
            kept(queue.SEND_MESSAGES, sending.send_messages),
            kept(queue.RECORD_WEBHOOKS, recording.record_webhooks),
            kept(queue.RUN_IMPORT, importing.run_import),
            kept(queue.BUILD_AUDIT, exporting.build_audit),
            kept(queue.REFRESH_LAKE, lake.refresh_lake),
            kept(queue.DELIVER_HOOKS, hooks.deliver_hooks),
            kept(queue.VERIFY_LEDGER, recording.verify_ledger),
            kept(queue.SIGN_LEDGER, recording.sign_checkpoint),
            kept(queue.COUNT_AUDIENCE, counting.count_audience),
            kept(queue.FETCH_FILES, files.fetch_files),
            kept(queue.INVALIDATE_CONSENTS, invalidating.invalidate_consents),
        ],
        cron_jobs=[
            cron(sending.ring_due, second=EVERY_2_S, run_at_startup=True),
            cron(recording.watch_ledger, second=EVERY_10_S, run_at_startup=True),
            cron(sending.check_breakers, second=EVERY_10_S),
            cron(recording.sweep_webhooks, second=EVERY_2_S),
            cron(importing.ring_imports, second=EVERY_10_S),
            cron(exporting.ring_audits, second=EVERY_10_S),
            cron(invalidating.ring_invalidations, second=EVERY_10_S),
            cron(recording.raise_orphans, second=45),
            cron(recording.settle_consents, second=15),
            cron(recording.sign_checkpoint, minute=EVERY_5_MIN, second=30, run_at_startup=True),
            cron(recording.verify_ledger, hour=4, minute=7, timeout=LONG_S),
            cron(lake.ring_refresh, second=EVERY_10_S),
            cron(hooks.sweep_hooks, second=EVERY_2_S),
            cron(hooks.forget_deliveries, hour=3, minute=10, second=0),
            cron(counting.ring_counts, second=25),
            cron(files.ring_files, second=EVERY_10_S),
            cron(keeping.keep_to_terms, hour=3, minute=17, timeout=LONG_S),
        ],
        redis_settings=queue.redis_settings(settings.valkey_url),
        job_serializer=queue.pack,
        job_deserializer=queue.unpack,
        keep_result=0,
        max_jobs=20,
        max_tries=1,
        poll_delay=0.1,
        health_check_interval=5,
        job_completion_wait=STOP_WITHIN_S,
        on_startup=start,
        on_shutdown=end,
        log_results=False,
        ctx={"settings": settings},
        **arguments,
    )


def run() -> None:
    """One worker process, until SIGINT or SIGTERM: then what is in flight ends, the rest is put back."""
    settings = get_settings()
    set_up_logging(settings.log_level)
    logging.getLogger("arq").setLevel(logging.WARNING)  # it says every tick of every sweep
    look_seldom()
    os.umask(0o077)  # packages and the lake hold personal data
    asyncio.set_event_loop(uvloop.new_event_loop())
    worker = make_worker(settings, handle_signals=True)

    def stop(signum: signal.Signals) -> None:
        parts: Parts | None = worker.ctx.get("parts")
        if parts is not None:
            parts.stopping.set()
        worker.handle_sig_wait_for_completion(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        worker.loop.add_signal_handler(signum, stop, signum)
    worker.run()
