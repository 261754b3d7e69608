"""Campaigns: build, review, launch, watch, stop."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from api.auth import MARKETING, READ_MARKETING, READ_PEOPLE, AuthedRequest
from api.campaign_shapes import (
    CampaignDetailOut,
    CampaignIn,
    CampaignOut,
    CanaryVerdictIn,
    LaunchIn,
    MessageOut,
    PauseIn,
    ScheduleIn,
    SettleIn,
    SettleOut,
    TestIn,
    TestOut,
    common,
    detail,
)
from api.idempotency import once
from api.paging import Cursor, Limit, PageOut, Words
from api.state import Db, Held, Now
from core.errors import NotFound, RuleViolation
from core.services import campaigns, contacts, expansion, people, reviews
from core.services.stops import paused_by
from core.statuses import CampaignStatus, DeliveryStatus


class CampaignController(Controller):
    path = "/campaigns"
    tags = ("Campaigns",)

    @get(guards=[READ_MARKETING])
    async def list_campaigns(
        self,
        session: Db,
        parts: Held,
        now: Now,
        status: FromQuery[CampaignStatus | None] = None,
        q: Words = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[CampaignOut]:
        """Newest first."""
        found = await campaigns.list_page(session, status=status, words=q, limit=limit, cursor=cursor)
        facts = await common(session, parts, found.items, now)
        return PageOut([CampaignOut(**each) for each in facts], found.next)

    @post(guards=[MARKETING])
    async def create(
        self, data: JSONBody[CampaignIn], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> Response[CampaignDetailOut]:
        """A draft; nothing is sent before it was reviewed and launched."""

        async def make() -> CampaignDetailOut:
            campaign = await campaigns.add(session, data.plan(), created_by=request.user.user_id)
            await people.note(session, request.user, "campaign.created", "campaign", campaign.id)
            return await detail(session, parts, campaign, now)

        return await once(request, session, CampaignDetailOut, make)

    @get("/{campaign_id:uuid}", guards=[READ_MARKETING])
    async def read(self, campaign_id: FromPath[UUID], parts: Held, session: Db, now: Now) -> CampaignDetailOut:
        """How it stands: the balance adds up to the audience, and what it waits for is said."""
        return await detail(session, parts, await campaigns.get(session, campaign_id), now)

    @patch("/{campaign_id:uuid}", guards=[MARKETING])
    async def change(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[CampaignIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> CampaignDetailOut:
        """Replace a draft's plan; it has to be reviewed again."""
        campaign = await campaigns.change(session, campaign_id, data.plan())
        await people.note(session, request.user, "campaign.changed", "campaign", campaign.id)
        return await detail(session, parts, campaign, now)

    @delete("/{campaign_id:uuid}", guards=[MARKETING])
    async def discard(self, campaign_id: FromPath[UUID], request: AuthedRequest, session: Db) -> None:
        """Throw a draft away; what was launched or scheduled is cancelled instead."""
        name = await campaigns.discard(session, campaign_id)
        await people.note(session, request.user, "campaign.discarded", "campaign", campaign_id, name=name)

    @post("/{campaign_id:uuid}/review", guards=[MARKETING], status_code=200)
    async def review(
        self, campaign_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> dict[str, Any]:
        """Render every message, count who is reached and why others are not, estimate cost and finish."""
        found = await reviews.review(
            session,
            campaign_id,
            currency=parts.settings.currency,
            default_zone=parts.settings.time_zone,
            now=now,
        )
        await people.note(
            session, request.user, "campaign.reviewed", "campaign", campaign_id, fingerprint=found["fingerprint"]
        )
        return found

    @post("/{campaign_id:uuid}/launch", guards=[MARKETING], status_code=200)
    async def launch(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[LaunchIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> Response[CampaignDetailOut]:
        """Start now what was reviewed: the fingerprint names the review."""

        async def make() -> CampaignDetailOut:
            campaign = await campaigns.launch(session, campaign_id, fingerprint=data.fingerprint, send_at=None, now=now)
            await people.note(
                session, request.user, "campaign.launched", "campaign", campaign.id, fingerprint=data.fingerprint
            )
            return await detail(session, parts, campaign, now)

        return await once(request, session, CampaignDetailOut, make, status=200)

    @post("/{campaign_id:uuid}/schedule", guards=[MARKETING], status_code=200)
    async def schedule(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[ScheduleIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> Response[CampaignDetailOut]:
        """Start at `send_at`, which needs its time zone."""
        if data.send_at.tzinfo is None:
            raise RuleViolation("send_at needs its time zone, such as a Z at its end", field="send_at")

        async def make() -> CampaignDetailOut:
            campaign = await campaigns.launch(
                session, campaign_id, fingerprint=data.fingerprint, send_at=data.send_at, now=now
            )
            await people.note(
                session, request.user, "campaign.scheduled", "campaign", campaign.id, fingerprint=data.fingerprint
            )
            return await detail(session, parts, campaign, now)

        return await once(request, session, CampaignDetailOut, make, status=200)

    @post("/{campaign_id:uuid}/pause", guards=[MARKETING], status_code=200)
    async def pause(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[PauseIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> CampaignDetailOut:
        """Start no new request until it is resumed; who paused it is kept with the reason."""
        reason = paused_by(request.user.name, data.reason)
        campaign = await campaigns.pause(session, campaign_id, reason=reason, now=now)
        await people.note(session, request.user, "campaign.paused", "campaign", campaign.id, reason=reason)
        return await detail(session, parts, campaign, now)

    @post("/{campaign_id:uuid}/resume", guards=[MARKETING], status_code=200)
    async def resume(
        self, campaign_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> CampaignDetailOut:
        campaign = await campaigns.resume(session, campaign_id, now=now)
        await people.note(session, request.user, "campaign.resumed", "campaign", campaign.id)
        return await detail(session, parts, campaign, now)

    @post("/{campaign_id:uuid}/canary", guards=[MARKETING], status_code=200)
    async def canary(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[CanaryVerdictIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> CampaignDetailOut:
        """After the first few: `go` lets the rest out, `stop` takes it back for good."""
        by = request.user.user_id
        campaign = await campaigns.decide_canary(session, campaign_id, data.verdict, by=by, now=now)
        parts.standings.forget(campaign.id)
        await people.note(session, request.user, "campaign.canary", "campaign", campaign.id, verdict=data.verdict.value)
        return await detail(session, parts, campaign, now)

    @post("/{campaign_id:uuid}/cancel", guards=[MARKETING], status_code=200)
    async def cancel(
        self, campaign_id: FromPath[UUID], request: AuthedRequest, parts: Held, session: Db, now: Now
    ) -> CampaignDetailOut:
        """Take back every message that has not left."""
        campaign = await campaigns.cancel(session, campaign_id, now=now)
        parts.standings.forget(campaign.id)
        await people.note(session, request.user, "campaign.cancelled", "campaign", campaign.id)
        return await detail(session, parts, campaign, now)

    @post("/{campaign_id:uuid}/settle", guards=[MARKETING], status_code=200)
    async def settle(
        self,
        campaign_id: FromPath[UUID],
        data: JSONBody[SettleIn],
        request: AuthedRequest,
        parts: Held,
        session: Db,
        now: Now,
    ) -> SettleOut:
        """Give up on messages whose answer never came: they become failed, and are never sent again.

        A status webhook that comes later still wins. With `dry_run` they are only counted.
        """
        before = now - timedelta(minutes=data.older_than_minutes)
        unknown = await campaigns.count_unknown(session, campaign_id)
        count = await campaigns.settle_unknown(session, campaign_id, before=before, dry_run=data.dry_run)
        if not data.dry_run:
            parts.standings.forget(campaign_id)
            await people.note(session, request.user, "campaign.settled", "campaign", campaign_id, messages=count)
        return SettleOut(count, unknown)

    @post("/{campaign_id:uuid}/test", guards=[MARKETING], status_code=202)
    async def test(
        self, campaign_id: FromPath[UUID], data: JSONBody[TestIn], request: AuthedRequest, parts: Held, session: Db
    ) -> TestOut:
        """Send one variant to one contact, through the consent gate like every message; it counts in no figure."""
        campaign = await campaigns.get(session, campaign_id)
        await campaigns.check_sendable(session, campaign)
        arms = {arm.variant.label: arm for arm in await campaigns.arms(session, campaign.id)}
        if data.variant not in arms:
            raise NotFound(f"the campaign has no variant {data.variant!r}")
        contact = await contacts.find(session, data.phone, region=parts.settings.country)
        message_id = await expansion.make_test(
            session, campaign, arms[data.variant], contact.id, default_zone=parts.settings.time_zone
        )
        await people.note(session, request.user, "campaign.tested", "campaign", campaign.id)
        return TestOut(message_id)

    @get("/{campaign_id:uuid}/messages", guards=[READ_PEOPLE])
    async def list_messages(
        self,
        campaign_id: FromPath[UUID],
        session: Db,
        status: Annotated[DeliveryStatus | None, QueryParameter(description="Only messages with this status")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PageOut[MessageOut]:
        await campaigns.get(session, campaign_id)
        found = await campaigns.messages_page(session, campaign_id, status=status, limit=limit, cursor=cursor)
        those = [message.contact_id for message in found.items]
        names = await contacts.names(session, those)
        numbers = await contacts.masked_numbers(session, those)
        items = [MessageOut.of(each, names.get(each.contact_id), numbers[each.contact_id]) for each in found.items]
        return PageOut(items, found.next)
