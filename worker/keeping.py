"""Keeping: every night, what is past its time goes."""

from typing import Any

import structlog

from core import queue
from core.clock import utc_now
from core.errors import Conflict
from core.services import allowance, erasure, people, retention
from worker.parts import Parts

log = structlog.get_logger()

MOST_PEOPLE = 1000  # a night


async def keep_to_terms(ctx: dict[str, Any]) -> dict[str, int]:
    """Delete what is past its time and scrub what came late about erased people; returns how much of what."""
    parts: Parts = ctx["parts"]
    now = utc_now()
    async with parts.sessions.begin() as session:
        done = await retention.purge(session, settings=parts.settings, now=now)
        await allowance.forget_old(session)
        if late := await erasure.scrub_late(session):
            done["late_reports"] = late
        people_due = await retention.forgotten(session, settings=parts.settings, now=now, limit=MOST_PEOPLE)
    for contact_id in people_due:
        if parts.stopping.is_set():
            break
        try:
            async with queue.transaction(parts.sessions, parts.doorbell) as session:
                erased = await erasure.erase(
                    session,
                    contact_id,
                    actor=people.SYSTEM,
                    keyring=parts.keyring,
                    settings=parts.settings,
                    now=utc_now(),
                    reason="retention",
                )
                erasure.remove_files(erased.files)
                await people.note(session, people.SYSTEM, "contact.erased", "contact", contact_id, counts=erased.counts)
        except Conflict as busy:  # tomorrow night is early enough
            log.info("retention.put_off", contact_id=str(contact_id), why=busy.message)
        else:
            done["people"] = done.get("people", 0) + 1
    async with parts.sessions.begin() as session:
        await people.note(session, people.SYSTEM, "retention.run", "installation", counts=done)
    log.info("retention.run", **done)
    return done
