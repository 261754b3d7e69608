"""The gate: who may be messaged now, why not, and that no withdrawal is ever overtaken."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, select, text, update

from benchmarks import optout_race
from core.clock import utc_now
from core.consent import gate
from core.consent.gate import Refusal, SendPermit, SendRequest
from core.consent.state import EventType
from core.db import Sessions, make_engine, make_sessions
from core.errors import Unavailable
from core.keys import Keyring
from core.models import ConsentState, Contact, ContactAddress, PendingWithdrawal
from core.services import consents
from core.settings import Settings
from core.statuses import MessageKind, SkipReason
from tests.integration.consent.people import NOW, SENDER, World

RACES = 1_500


@pytest.fixture
async def world(sessions: Sessions, keyring: Keyring, settings: Settings) -> World:
    return await World(sessions, keyring, settings).start()


def wanted(
    people: Sequence[UUID],
    *,
    purpose: str = "marketing",
    kind: MessageKind = MessageKind.CAMPAIGN,
    sender: str = SENDER,
) -> list[SendRequest]:
    return [SendRequest(uuid4(), person, purpose, kind, sender) for person in people]


async def ask(
    world: World, requests: Sequence[SendRequest], *, now: datetime = NOW
) -> tuple[list[SendPermit], list[Refusal]]:
    async with gate.permits(world.sessions, requests, keyring=world.keyring, now=now) as decided:
        return decided


async def reason(world: World, request: SendRequest, *, now: datetime = NOW) -> SkipReason | None:
    allowed, refused = await ask(world, [request], now=now)
    assert len(allowed) + len(refused) == 1
    return refused[0].reason if refused else None


async def test_a_permit_says_whom_why_and_how_the_ledger_stood(world: World) -> None:
    (person,) = await world.contacts()
    (granted,) = await world.record(world.grant(person))
    (annotated,) = await world.record(world.stop(person, event_type=EventType.CORRECTION))
    (request,) = wanted([person])

    (permit,), refused = await ask(world, [request])

    assert refused == []
    assert (permit.message_id, permit.contact_id, permit.purpose) == (request.message_id, person, "marketing")
    assert (permit.grant_seq, permit.head_seq) == (granted.seq, annotated.seq)
    assert permit.recipient() == {"to": permit.to}
    assert permit.to.startswith("+8190")


async def test_every_reason_is_found(world: World) -> None:
    p = await world.contacts(14)
    await world.record(*(world.grant(person) for person in p[1:11]), world.form(p[11]), world.form(p[12]))
    await world.record(
        world.grant(p[13], event_type=EventType.REQUESTED),
        world.stop(p[1]),
        world.stop(p[2], event_type=EventType.HOLD_PLACED),
        world.stop(p[3], event_type=EventType.INVALIDATED, purpose="marketing", reason="invalid_notice"),
        world.stop(p[4], event_type=EventType.TENURE_CLOSED, purpose="*"),
        world.stop(p[5], event_type=EventType.UNREACHABLE_SET, purpose="marketing"),
        world.stop(p[11], event_type=EventType.REAFFIRM_DUE, purpose="marketing"),
        world.stop(p[9], event_type=EventType.META_STOPPED),
    )
    later = NOW + timedelta(hours=1)
    await world.record(world.grant(p[9], occurred_at=later), now=later)
    async with world.sessions.begin() as session:
        await consents.pend_withdrawal(session, p[6], world.stop(p[6]))
        await session.execute(update(Contact).where(Contact.id == p[7]).values(erased_at=NOW))
        await session.execute(update(ContactAddress).where(ContactAddress.contact_id == p[8]).values(closed_at=NOW))
        await session.execute(update(ConsentState).where(ConsentState.contact_id == p[12]).values(grade="D"))

    found = [await reason(world, request) for request in wanted(p)]

    assert found == [
        SkipReason.NO_CONSENT,
        SkipReason.SUPPRESSED,
        SkipReason.HOLD,
        SkipReason.INVALID,
        SkipReason.TENURE_CLOSED,
        SkipReason.UNREACHABLE,
        SkipReason.HOLD,
        SkipReason.ERASED,
        SkipReason.NO_ADDRESS,
        SkipReason.META_STOP,
        None,
        SkipReason.REAFFIRM_DUE,
        SkipReason.GRADE_TOO_LOW,
        SkipReason.PENDING,
    ]
    assert await reason(world, *wanted([p[9]], sender="another number")) is None
    assert await reason(world, *wanted([p[10]], purpose="marketing.events")) is SkipReason.UNKNOWN_PURPOSE
    assert await reason(world, *wanted([p[10]]), now=NOW + timedelta(days=730)) is SkipReason.EXPIRED


async def test_a_withdrawal_without_an_address_is_still_a_withdrawal(world: World) -> None:
    (person,) = await world.contacts()
    async with world.sessions.begin() as session:
        await session.execute(delete(ContactAddress))
    await world.record(world.stop(person))

    assert await reason(world, *wanted([person])) is SkipReason.WITHDRAWN


async def test_another_contacts_stop_blocks_the_shared_address_under_an_old_key(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rotating")
    world.keyring = Keyring.load(folder)
    old, new = await world.contacts(2)
    await world.record(world.stop(old), world.grant(new))
    async with world.sessions.begin() as session:
        addresses = {row.contact_id: row for row in await session.scalars(select(ContactAddress))}
        addresses[old].closed_at = NOW
        await session.flush()
        addresses[new].value = addresses[new].match_key = addresses[old].value
    world.keyring = Keyring.rotate_addresses(folder)

    assert await reason(world, *wanted([new])) is SkipReason.SUPPRESSED


async def test_a_purpose_without_consent_is_open_until_everything_is_withdrawn(world: World) -> None:
    fresh, marketing_only, everything, held = await world.contacts(4)
    await world.record(
        world.stop(marketing_only),
        world.stop(everything, purpose="*"),
        world.stop(held, event_type=EventType.HOLD_PLACED, purpose="*"),
    )
    requests = wanted([fresh, marketing_only, everything, held], purpose="transactional")

    allowed, refused = await ask(world, requests)

    assert [permit.contact_id for permit in allowed] == [fresh, marketing_only]
    assert [permit.grant_seq for permit in allowed] == [None, None]
    assert [refusal.reason for refusal in refused] == [SkipReason.SUPPRESSED, SkipReason.HOLD]


async def test_a_free_reply_needs_a_message_of_the_last_24_hours(world: World) -> None:
    (person,) = await world.contacts()
    (reply,) = wanted([person], purpose="service", kind=MessageKind.REPLY)

    assert await reason(world, reply) is None
    assert await reason(world, reply, now=NOW + timedelta(hours=23)) is SkipReason.WINDOW_CLOSED
    assert await reason(world, replace(reply, kind=MessageKind.TRIGGERED), now=NOW + timedelta(hours=23)) is None


async def test_the_kill_switch_stops_a_purpose(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.grant(person))

    for halted, expected in ((True, SkipReason.KILL_SWITCH), (False, None)):
        async with world.sessions.begin() as session:
            await consents.halt_purpose(session, "marketing", halted=halted, keyring=world.keyring, now=NOW)
        assert await reason(world, *wanted([person])) is expected


async def test_a_cache_that_somebody_changed_sends_nothing(world: World) -> None:
    stopped, never, other = await world.contacts(3)
    await world.record(world.grant(stopped), world.grant(other))
    await world.record(world.stop(stopped, occurred_at=NOW + timedelta(seconds=1)), now=NOW + timedelta(seconds=2))
    forged = {"state": "subscribed", "grade": "B", "expires_at": NOW + timedelta(days=9)}
    async with world.sessions.begin() as session:
        await session.execute(text("UPDATE suppressions SET lifted_at = now()"))
        grants = select(func.min(ConsentState.grant_seq)).where(ConsentState.contact_id == other)
        grant_seq = await session.scalar(grants)
        await session.execute(
            update(ConsentState).where(ConsentState.contact_id == stopped).values(**forged, grant_seq=grant_seq - 1)
        )
        session.add(ConsentState(contact_id=never, purpose="marketing", **forged, grant_seq=grant_seq, head_seq=1))

    assert [await reason(world, request) for request in wanted([stopped, never, other])] == [
        SkipReason.LEDGER_MISMATCH,
        SkipReason.LEDGER_MISMATCH,
        None,
    ]


async def test_a_grant_that_outlives_a_late_withdrawal_is_no_mismatch(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.grant(person, occurred_at=NOW - timedelta(hours=1)))
    await world.record(world.stop(person, occurred_at=NOW - timedelta(hours=3)))

    assert await reason(world, *wanted([person])) is None


async def test_somebody_without_a_number_is_reached_by_user_id(world: World) -> None:
    async with world.sessions.begin() as session:
        contact = Contact(country="BR")
        session.add(contact)
        await session.flush()
        session.add(ContactAddress(contact_id=contact.id, kind="bsuid", value="BR.4f9", match_key="BR.4f9"))
    await world.record(world.grant(contact.id))

    (permit,), _ = await ask(world, wanted([contact.id]))

    assert permit.recipient() == {"recipient": "BR.4f9"}


async def test_a_permit_dies_with_its_transaction_and_after_250_ms_and_cannot_be_made(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.grant(person))

    async with gate.permits(world.sessions, wanted([person]), keyring=world.keyring) as ((permit,), _):
        assert permit.live()
        permit.check()
        time.sleep(0.26)  # noqa: ASYNC251  # the permit's own clock is what is tested
        assert not permit.live()
    async with gate.permits(world.sessions, wanted([person]), keyring=world.keyring) as ((permit,), _):
        pass
    assert not permit.live()
    with pytest.raises(gate.PermitExpired):
        permit.check()
    with pytest.raises(TypeError):
        replace(permit, _mint=object())
    with pytest.raises(TypeError):
        SendPermit(uuid4(), person, "marketing", "+1", 1, 1, NOW, permit._window, None)


async def test_the_gate_sees_a_withdrawal_it_waited_for_whatever_the_server_s_default_isolation(
    own_database: str, own_sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    (person,) = await world.contacts()
    await world.record(world.grant(person))
    async with own_sessions.begin() as session:
        await session.execute(text("SET ROLE NONE"))
        name = await session.scalar(text("SELECT current_database()"))
        await session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_isolation TO "repeatable read"'))
    engine = make_engine(own_database)
    snapshots = make_sessions(engine)
    asked = asyncio.Event()

    async def ask_late() -> SkipReason | None:
        asked.set()
        return await reason(replace(world, sessions=snapshots), *wanted([person]))

    async with own_sessions.begin() as session:
        await consents.record(session, [world.stop(person)], keyring=keyring, settings=settings, now=NOW)
        answer = asyncio.create_task(ask_late())
        await asked.wait()
        await asyncio.sleep(0.2)  # the gate waits for the contact's row now

    assert await answer is SkipReason.SUPPRESSED
    await engine.dispose()


async def test_the_gate_refuses_too_many_at_once_and_a_clock_that_is_behind(
    own_sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    (person,) = await world.contacts()
    await world.record(world.grant(person))

    with pytest.raises(ValueError, match="at most 50"):
        await ask(world, wanted([person] * 51))
    async with own_sessions.begin() as session:
        await session.execute(text("SET ROLE NONE"))
        await session.execute(text("UPDATE consent_chain SET recorded_at = clock_timestamp() + interval '90 seconds'"))
    with pytest.raises(Unavailable):
        await ask(world, wanted([person]))


async def test_a_busy_lock_is_given_up_after_the_time_allowed_and_kept_as_pending(
    own_sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    (person,) = await world.contacts()
    await world.record(world.grant(person))

    async with gate.permits(own_sessions, wanted([person]), keyring=keyring) as (allowed, _):
        assert len(allowed) == 1
        with pytest.raises(Exception, match="lock timeout"):
            async with own_sessions.begin() as session:
                await session.execute(text("SET LOCAL lock_timeout = '50ms'"))
                await consents.record(session, [world.stop(person)], keyring=keyring, settings=settings, now=NOW)
        async with own_sessions.begin() as session:
            await session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            await consents.pend_withdrawal(session, person, world.stop(person, received_at=NOW))
        assert await reason(world, *wanted([person])) is SkipReason.HOLD

    async with own_sessions.begin() as session:
        assert await consents.finish_pending(session, keyring=keyring, settings=settings, now=NOW) == 1
        assert (await session.scalars(select(PendingWithdrawal))).all() == []
    assert await reason(world, *wanted([person])) is SkipReason.SUPPRESSED


async def test_no_send_starts_after_a_withdrawal_has_committed(
    own_sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    people = await world.contacts(RACES)
    for start in range(0, RACES, 500):
        await world.record(*(world.grant(person) for person in people[start : start + 500]), now=utc_now())

    permits = optout_race.gated(own_sessions, keyring)
    raced = await optout_race.race(own_sessions, people, permits, keyring=keyring, settings=settings, seed=20261122)

    assert (raced.withdrawn, raced.overtaken) == (RACES, 0)
    assert 0.05 * RACES < raced.sent < 0.95 * RACES, "the races were no races"
