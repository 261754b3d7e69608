"""How campaigns are counted: all there is to count in one pass, and the larger the campaign, the more seldom."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from core.models import Campaign
from core.services.standing import Standings, count
from core.statuses import CampaignStatus
from tests import factories
from tests.integration.stack import Stack

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PEOPLE = [f"+49151123456{number}" for number in range(10, 15)]
_SPREAD = text("""
    UPDATE messages SET status = says.status, skip_reason = says.skip_reason, error_code = says.error_code,
           error = says.error, permitted_at = CAST(:now AS timestamptz) - make_interval(secs => says.seconds_ago)
      FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM messages WHERE campaign_id = :campaign) each
      JOIN (VALUES (1, 'queued', NULL, NULL, NULL, NULL), (2, 'skipped', 'no_consent', NULL, NULL, NULL),
                   (3, 'failed', NULL, 131026, 'it cannot be', 60), (4, 'failed', NULL, NULL, 'no way', 9),
                   (5, 'read', NULL, NULL, NULL, 1))
        AS says (place, status, skip_reason, error_code, error, seconds_ago) USING (place)
     WHERE messages.id = each.id
""")
_READ = text("UPDATE messages SET status = 'read' WHERE campaign_id = :campaign")


async def a_campaign(stack: Stack) -> Campaign:
    """Five messages, each of which became of something else."""
    sender = await factories.a_sender(stack)
    await factories.an_import(stack, factories.csv_of([factories.consenting(phone) for phone in PEOPLE]))
    template, audience = await factories.a_template(stack, sender), await factories.an_audience(stack)
    made = await factories.launched(stack, await factories.a_campaign(stack, sender, template, audience))
    await stack.work()
    async with stack.sessions.begin() as session:
        await session.execute(_SPREAD, {"campaign": UUID(made["id"]), "now": NOW})
        campaign = await session.get_one(Campaign, UUID(made["id"]))
        campaign.status = CampaignStatus.SENDING
    return campaign


async def test_one_pass_tells_the_balance_the_reasons_the_codes_and_the_pace(stack: Stack) -> None:
    campaign = await a_campaign(stack)

    async with stack.sessions() as session:
        standing = (await count(session, [campaign.id], now=NOW))[campaign.id]

    said = {status: messages for status, messages in standing.balance.items() if messages}
    assert said == {"audience": 5, "queued": 1, "skipped": 1, "failed": 2, "read": 1}
    failures = {(each.code, each.said): each.count for each in standing.failures}
    assert (standing.skipped, failures) == ({"no_consent": 1}, {(131026, None): 1, (None, "no way"): 1})
    assert (standing.left, standing.recent) == (1, 2)


async def test_what_was_counted_is_shown_again_for_a_hundred_thousandth_of_a_second_per_message(stack: Stack) -> None:
    campaign, standings = await a_campaign(stack), Standings()
    aged = timedelta(microseconds=10 * 5)  # five messages

    async with stack.sessions() as session:

        async def read(at: datetime) -> int:
            return (await standings.of(session, [campaign], now=at))[campaign.id].balance["read"]

        assert await read(NOW) == 1
        await session.execute(_READ, {"campaign": campaign.id})
        assert await read(NOW + aged - timedelta(microseconds=1)) == 1
        assert await read(NOW - timedelta(seconds=1)) == 5  # a clock that was set back keeps nothing
        assert await read(NOW + aged) == 5


async def test_what_is_over_is_counted_more_seldom_and_what_somebody_changed_at_once(stack: Stack) -> None:
    campaign, standings = await a_campaign(stack), Standings()
    campaign.status = CampaignStatus.COMPLETED

    async with stack.sessions() as session:

        async def read(at: datetime) -> int:
            return (await standings.of(session, [campaign], now=at))[campaign.id].balance["read"]

        assert await read(NOW) == 1
        await session.execute(_READ, {"campaign": campaign.id})
        assert await read(NOW + timedelta(microseconds=10 * 5 * 5)) == 1
        standings.forget(campaign.id)
        assert await read(NOW + timedelta(microseconds=10 * 5 * 5)) == 5
