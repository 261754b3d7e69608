"""What becomes of consent in situations that span several parts: the provider's refusals, files, brands, signatures."""

from typing import Any

import httpx
from sqlalchemy import select, text

from core.clock import utc_now
from core.consent import gate
from core.consent.gate import SendRequest
from core.db import make_engine
from core.models import ConsentEvent, ConsentState, Contact, ContactAddress, Message
from core.services import consents
from core.statuses import MessageKind, Role, SkipReason
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from worker import expanding, recording, sending

ANA, BEN, CLEO = "+491701234500", "+491701234501", "+491701234502"


async def a_campaign_to(stack: Stack, people: list[str]) -> dict[str, Any]:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(phone) for phone in people]))
    return await a_campaign(stack, sender, template, await an_audience(stack))


async def marketing_of(stack: Stack, phone: str) -> tuple[str, list[str]]:
    """(state, kinds of the person's events)."""
    async with stack.sessions() as session:
        owner = select(ContactAddress.contact_id).where(ContactAddress.value == phone).scalar_subquery()
        query = select(ConsentEvent.event_type).where(ConsentEvent.subject_id == owner).order_by(ConsentEvent.seq)
        events = list(await session.scalars(query))
        states = select(ConsentState.purpose, ConsentState.state).where(ConsentState.contact_id == owner)
        found = {row.purpose: row.state for row in await session.execute(states)}
    return found["marketing"], events


async def test_a_refusal_that_says_they_stopped_is_the_stop_when_its_own_webhook_is_lost(stack: Stack) -> None:
    campaign = await a_campaign_to(stack, [ANA, BEN])
    await stack.steer("PUT", f"people/{ANA.lstrip('+')}", {"fails": 131050})
    await launched(stack, campaign)
    await stack.settle()

    assert await marketing_of(stack, ANA) == ("withdrawn", ["GRANTED", "META_STOPPED"])
    assert (await marketing_of(stack, BEN))[0] == "subscribed"
    async with stack.sessions() as session:
        rows = select(Message.status, Message.attempt, Message.error_code).where(Message.error_code.is_not(None))
        assert [tuple(row) for row in await session.execute(rows)] == [("failed", 1, 131050)], "never tried again"


async def test_a_refusal_for_too_much_marketing_says_nothing_about_consent_and_is_not_repeated(stack: Stack) -> None:
    campaign = await a_campaign_to(stack, [ANA])
    await stack.steer("PUT", f"people/{ANA.lstrip('+')}", {"marketing_limited": True})
    await launched(stack, campaign)
    await stack.settle()

    assert await marketing_of(stack, ANA) == ("subscribed", ["GRANTED"])
    assert len(stack.sandbox.store.messages) == 1


async def test_one_number_in_many_spellings_is_one_person(stack: Stack) -> None:
    spellings = [ANA, "４９１７０１２３４５００", "tel:+49-170-123-45-00", "0170 1234500", "+49 (0) 170 1234500"]

    done = await an_import(stack, csv_of([{"phone": spelling, "name": "Ana"} for spelling in spellings]))

    assert done["verdicts"] == {"contact_only": 1, "duplicate": 4}
    async with stack.sessions() as session:
        assert len(list(await session.scalars(select(Contact)))) == 1


async def test_who_is_in_a_file_with_a_yes_and_a_no_ends_with_the_no_whatever_their_order(stack: Stack) -> None:
    rows = [
        consenting(ANA, source_record_id="yes-1"),
        consenting(ANA, action="opt_out", source_record_id="no-1"),
        consenting(BEN, action="opt_out", source_record_id="no-2"),
        consenting(BEN, source_record_id="yes-2"),
    ]

    done = await an_import(stack, csv_of(rows))

    assert done["verdicts"] == {"opt_out_applied": 2, "refused_suppressed": 2}
    assert ((await marketing_of(stack, ANA))[0], (await marketing_of(stack, BEN))[0]) == ("withdrawn", "withdrawn")


async def test_a_yes_to_one_brand_is_none_to_another(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(ANA)]))
    async with stack.sessions.begin() as session:
        await consents.put_purpose(
            session,
            code="marketing.outlet",
            controller="Acme Outlet Ltd",
            description={"en": "Offers of our outlet"},
            min_grade="C",
            validity_days=730,
            needs_consent=True,
            halted=False,
            keyring=stack.parts.keyring,
            now=utc_now(),
        )
        contact_id = (await session.scalars(select(Contact.id))).one()

    asked = [
        SendRequest(contact_id, contact_id, purpose, MessageKind.CAMPAIGN, "1")
        for purpose in ("marketing", "marketing.outlet")
    ]
    async with gate.permits(stack.sessions, asked, keyring=stack.parts.keyring) as (allowed, refused):
        assert [permit.purpose for permit in allowed] == ["marketing"]
        assert [refusal.reason for refusal in refused] == [SkipReason.NO_CONSENT]


async def test_a_ledger_nobody_signs_raises_an_alarm_after_ten_minutes_and_holds_marketing_after_an_hour(
    stack: Stack,
) -> None:
    campaign = await a_campaign_to(stack, [ANA, BEN, CLEO])
    await launched(stack, campaign)
    stack.bells.waiting.clear()
    await expanding.expand_campaign(stack.ctx, campaign["id"])
    stack.bells.waiting.clear()
    officer = await stack.sign_in(Role.COMPLIANCE)
    assert await alarm(stack, officer) == ("ok", None)

    await unsigned_for(stack, minutes=11)
    state, since = await alarm(stack, officer)
    assert (state, since is not None) == ("unsigned", True)
    assert (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["waiting"] is None

    await unsigned_for(stack, minutes=61)
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    held = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert (len(stack.sandbox.store.messages), held["balance"]["queued"]) == (0, 3)
    assert held["waiting"]["reason"] == "ledger_unsigned"

    await unsigned_for(stack, minutes=0)
    await recording.sign_checkpoint(stack.ctx)
    assert await alarm(stack, officer) == ("ok", None)
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE messages SET not_before = now()"))
    await sending.send_messages(stack.ctx, campaign["sender_id"])
    assert len(stack.sandbox.store.messages) == 3


async def test_a_thousand_records_are_signed_without_waiting_for_the_clock(stack: Stack) -> None:
    await recording.watch_ledger(stack.ctx)
    assert not [bell for bell in stack.bells.waiting if bell.job == "sign_checkpoint"]

    # What makes the ledger long costs seconds; how long it is, is a number that the watch reads.
    await past_the_rules(stack, "UPDATE consent_chain SET seq = seq + 1000")
    await recording.watch_ledger(stack.ctx)

    assert [bell.job for bell in stack.bells.waiting if bell.job == "sign_checkpoint"] == ["sign_checkpoint"]


async def alarm(stack: Stack, officer: httpx.AsyncClient) -> tuple[str, Any]:
    ready = (await stack.client.get("/health/ready")).json()
    return ready["checks"]["ledger"], (await officer.get("/api/ledger/integrity")).json()["unsigned_since"]


async def unsigned_for(stack: Stack, *, minutes: int) -> None:
    """The oldest record, which nobody signed, was made so long ago."""
    at = "to_char((now() - make_interval(mins => :minutes)) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    await past_the_rules(stack, f"UPDATE consent_events SET recorded_at = {at} WHERE seq = 1", minutes=minutes)


async def past_the_rules(stack: Stack, statement: str, **values: Any) -> None:
    """Change what the database's rules keep from being changed, as its owner."""
    engine = make_engine(stack.settings.database_url, role=None)
    async with engine.begin() as connection:
        for table in ("consent_events", "consent_chain"):
            await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        await connection.execute(text(statement), values)
        for table in ("consent_events", "consent_chain"):
            await connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER ALL"))
    await engine.dispose()
