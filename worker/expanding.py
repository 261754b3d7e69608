"""Expanding: a launched campaign becomes one row per recipient, several pages of people at a time."""

import asyncio
from typing import Any
from uuid import UUID

import structlog

from core.clock import utc_now
from core.queue import transaction
from core.services import audiences, campaigns, expansion
from core.services.expansion import Page, Plan
from worker.parts import Parts

log = structlog.get_logger()

ABREAST = 2  # pages made at a time, each on a connection of its own


async def expand_campaign(ctx: dict[str, Any], campaign_id: str) -> int:
    """Make the campaign's rows, a round of pages at a time; resumes after a crash. Returns how many people were seen.

    Pausing or cancelling takes effect between two rounds, so within a second or two.
    """
    parts: Parts = ctx["parts"]
    async with transaction(parts.sessions, parts.doorbell) as session:
        await campaigns.begin_expansion(session, UUID(campaign_id), now=utc_now())
    seen = 0
    while not parts.stopping.is_set():
        found = await _round(parts, UUID(campaign_id))
        if found is None:
            break
        seen += found
        if not found:
            log.info("campaign.expanded", campaign_id=campaign_id, people=seen)
            break
    return seen


async def _round(parts: Parts, campaign_id: UUID) -> int | None:
    """How many people got their rows; 0 when all have one, None when there is nothing to expand."""
    async with transaction(parts.sessions, parts.doorbell) as session:
        campaign = await campaigns.hold_expanding(session, campaign_id)
        if campaign is None:
            return None
        audience = await audiences.get(session, campaign.audience_id)
        people = audiences.people(audience)
        pages = await expansion.next_pages(session, people, campaign.expand_cursor, pages=ABREAST)
        if not pages:
            await campaigns.finish_expansion(session, campaign, now=utc_now())
            return 0
        plan = Plan(
            campaign,
            await campaigns.arms(session, campaign.id),
            default_zone=parts.settings.time_zone,
            start=campaign.launched_at or utc_now(),
        )
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(_page(parts, plan, page)) for page in pages]
        if not all(each.result() for each in made):
            return None
        made_for = sum(page.size for page in pages)
        campaign.expand_cursor = pages[-1].last
        campaign.expanded_people += made_for
        return made_for


async def _page(parts: Parts, plan: Plan, page: Page) -> bool:
    async with parts.sessions.begin() as session:
        return await expansion.expand(session, plan, page)
