"""Recording: once, together, and never reviving anybody."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from core.consent import ledger
from core.consent.acts import Act, ActorType, Method
from core.consent.state import EventType, Grade, State
from core.db import Sessions
from core.errors import Conflict, NotFound, RuleViolation, Unavailable
from core.keys import Keyring
from core.models import (
    Checkpoint,
    ConsentEvent,
    ConsentEvidence,
    ConsentState,
    Contact,
    ContactAddress,
    PendingWithdrawal,
    Purpose,
    Suppression,
)
from core.services import consents
from core.services.consents import NOBODY
from core.services.judging import Newcomer, judge
from core.settings import Settings
from tests.integration.consent.people import NOW, SENDER, World


@pytest.fixture
async def world(sessions: Sessions, keyring: Keyring, settings: Settings) -> World:
    return await World(sessions, keyring, settings).start()


async def states(world: World) -> dict[tuple[str, str], str]:
    async with world.sessions() as session:
        rows = await session.execute(select(ConsentState.contact_id, ConsentState.purpose, ConsentState.state))
        return {(str(contact_id), purpose): state for contact_id, purpose, state in rows}


async def test_a_grant_is_sealed_proven_and_in_force_at_once(world: World) -> None:
    (person,) = await world.contacts()

    (outcome,) = await world.record(world.grant(person))

    async with world.sessions() as session:
        (entry,) = await consents.history(session, person)
        state = (await session.scalars(select(ConsentState))).one()
        version = (await session.scalars(select(Contact.consent_version))).one()
    assert (outcome.state, outcome.grade, outcome.rule) == (State.SUBSCRIBED, Grade.B, "5")
    assert (entry.core["event_type"], entry.core["subject_event_no"], entry.core["controller_id"]) == (
        "GRANTED",
        1,
        "Acme",
    )
    assert entry.core["jurisdiction"] == "JP"
    assert entry.evidence == {"text": "Agree"}
    assert "Agree" not in str(entry.core)
    assert (state.grant_seq, state.head_seq, state.grade, version) == (outcome.seq, outcome.seq, "B", 1)
    assert state.expires_at == NOW + timedelta(days=730)


async def test_the_same_thing_is_recorded_once_in_one_batch_and_in_two(world: World) -> None:
    (person,) = await world.contacts()
    act = world.stop(person)

    first, second = await world.record(act, act)
    (third,) = await world.record(replace(act, reason="other"))

    assert len({first.event_id, second.event_id, third.event_id}) == 1
    assert [first.is_duplicate, second.is_duplicate, third.is_duplicate] == [False, True, True]
    async with world.sessions() as session:
        assert await session.scalar(select(func.count()).where(ConsentEvent.subject_id == person)) == 1
        assert await session.scalar(select(func.count()).select_from(ConsentEvidence)) == 1


async def test_five_deliveries_two_at_a_time_are_one_event(
    own_sessions: Sessions, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    (person,) = await world.contacts()
    act = world.stop(person)

    outcomes = await asyncio.gather(*(world.record(act) for _ in range(5)))

    assert len({outcome.event_id for (outcome,) in outcomes}) == 1
    assert sum(not outcome.is_duplicate for (outcome,) in outcomes) == 1


async def test_a_batch_of_a_thousand_is_one_of_each_statement(world: World) -> None:
    people = await world.contacts(1000)

    outcomes = await world.record(*(world.form(person) for person in people))

    assert {outcome.state for outcome in outcomes} == {State.SUBSCRIBED}
    assert [outcome.contact_id for outcome in outcomes] == people
    assert [outcome.seq for outcome in outcomes] == list(range(outcomes[0].seq, outcomes[0].seq + 1000))


async def test_an_opt_out_survives_imports_in_every_spelling(world: World, settings: Settings) -> None:
    async with world.sessions.begin() as session:
        await consents.withdraw_unknown(
            session,
            world.stop(NOBODY),
            kind="wa_id",
            value="551187654321",
            match_key="+5511987654321",
            keyring=world.keyring,
            settings=settings,
            now=NOW,
        )
        owner = (await session.scalars(select(ContactAddress.contact_id))).one()
        (suppression,) = await session.scalars(select(Suppression))

    (outcome,) = await world.record(
        world.form(owner, source="import", actor=ActorType.IMPORT, declared_import=True, occurred_at=NOW)
    )

    assert (suppression.scope, suppression.reason) == ("marketing.*", "stop_word")
    assert (outcome.state, outcome.rule) == (State.WITHDRAWN, "14")


async def test_an_address_brings_its_withdrawal_along_to_a_new_contact_under_any_key(
    world: World, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rotating")
    world.keyring = Keyring.load(folder)
    (old,) = await world.contacts()
    await world.record(world.stop(old))
    async with world.sessions.begin() as session:
        address = (await session.scalars(select(ContactAddress).where(ContactAddress.contact_id == old))).one()
        address.closed_at = NOW
        successor = Contact(country="JP")
        session.add(successor)
        await session.flush()
        session.add(
            ContactAddress(contact_id=successor.id, kind="phone", value=address.value, match_key=address.match_key)
        )
    world.keyring = Keyring.rotate_addresses(folder)
    world.keyring = Keyring.rotate_addresses(folder)

    (refused,) = await world.record(world.form(successor.id))
    (agreed,) = await world.record(
        world.grant(successor.id, occurred_at=NOW + timedelta(hours=1)), now=NOW + timedelta(hours=2)
    )

    assert (refused.state, refused.rule) == (State.WITHDRAWN, "14")
    assert (agreed.state, agreed.rule) == (State.SUBSCRIBED, "13")
    async with world.sessions() as session:
        suppression = (await session.scalars(select(Suppression))).one()
        kinds = [entry.core["event_type"] for entry in await consents.history(session, successor.id)]
    assert suppression.lifted_seq == agreed.seq
    assert kinds == ["SUPPRESSED", "GRANTED", "GRANTED"]


async def test_only_the_persons_own_act_lifts_a_suppression(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.stop(person))

    later = NOW + timedelta(hours=1)
    await world.record(world.form(person, occurred_at=later), now=later)
    async with world.sessions() as session:
        assert (await session.scalars(select(Suppression.lifted_at))).one() is None
    await world.record(world.grant(person, occurred_at=later), now=later)

    async with world.sessions() as session:
        assert (await session.scalars(select(Suppression.lifted_at))).one() == later
    assert (await states(world))[str(person), "marketing"] == "subscribed"


async def test_a_withdrawal_that_a_newer_grant_outlives_suppresses_nothing(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.grant(person, occurred_at=NOW - timedelta(hours=1)))

    await world.record(world.stop(person, occurred_at=NOW - timedelta(hours=3)))

    async with world.sessions() as session:
        assert (await session.scalars(select(Suppression))).all() == []
    assert (await states(world))[str(person), "marketing"] == "subscribed"


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, Grade.B),
        ({"source": "web_form", "method": Method.WEB_FORM}, Grade.C),
        ({"source": "api", "actor": ActorType.API, "method": Method.WEB_FORM}, Grade.C),
        ({"source": "api", "actor": ActorType.API, "method": Method.WA_BUTTON}, Grade.C),
        ({"source": "api", "actor": ActorType.API, "method": Method.API}, Grade.D),
        ({"source": "import", "method": Method.PAPER, "declared_import": True}, Grade.C),
        ({"source": "import", "method": Method.PAPER, "declared_import": True, "confirmed_at": NOW}, Grade.B),
        ({"source": "import", "method": Method.IMPORT, "declared_import": True}, Grade.D),
        ({"occurred_at": NOW - timedelta(days=2)}, Grade.D),
        ({"occurred_at": NOW - timedelta(days=2), "source": "import", "declared_import": True}, Grade.C),
        ({"notice_id": None}, Grade.E),
        ({"evidence": {}}, Grade.E),
        ({"collection_point": None}, Grade.E),
        ({"weakest_grade": Grade.C}, Grade.C),
    ],
)
async def test_a_grant_is_as_good_as_its_proof(world: World, changes: dict[str, object], grade: Grade) -> None:
    (person,) = await world.contacts()

    (outcome,) = await world.record(world.grant(person, **changes))

    assert outcome.grade is grade
    assert (outcome.state is State.SUBSCRIBED) == (grade <= Grade.C)


async def test_a_form_confirmed_from_the_account_is_grade_a(world: World) -> None:
    (person,) = await world.contacts()
    await world.record(world.form(person, event_type=EventType.REQUESTED))

    (outcome,) = await world.record(world.grant(person, event_type=EventType.CONFIRMED, method=Method.WA_CODE))

    assert (outcome.state, outcome.grade) == (State.SUBSCRIBED, Grade.A)


async def test_what_can_never_be_recorded_is_refused_and_nothing_is_written(world: World) -> None:
    (person,) = await world.contacts()
    staff = {"actor": ActorType.STAFF, "source": "dashboard", "method": Method.STAFF, "evidence": {}}
    refused = [
        world.grant(person, purpose="marketing.*"),
        world.grant(person, purpose="unknown"),
        world.grant(person, notice_id=uuid4()),
        world.grant(person, **staff),
        world.stop(person, reason="a\nb"),
        world.grant(person, occurred_at=NOW.replace(tzinfo=None)),
    ]

    for act in refused:
        with pytest.raises(RuleViolation):
            await world.record(world.stop(person), act)
    with pytest.raises(NotFound):
        await world.record(world.stop(uuid4()))

    assert await states(world) == {}


async def test_while_the_clock_is_behind_the_ledger_only_withdrawals_are_taken(
    own_sessions: Sessions, own_database: str, keyring: Keyring, settings: Settings
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    (person,) = await world.contacts()
    async with own_sessions.begin() as session:
        await session.execute(text("SET ROLE NONE"))
        await session.execute(text("UPDATE consent_chain SET recorded_at = clock_timestamp() + interval '90 seconds'"))

    with pytest.raises(Unavailable):
        await world.record(world.grant(person))
    (stopped,) = await world.record(world.stop(person))

    async with own_sessions() as session:
        events = (await session.scalars(select(ConsentEvent.recorded_at).order_by(ConsentEvent.seq))).all()
    assert stopped.state is State.WITHDRAWN
    assert events == sorted(events)


async def test_a_pending_withdrawal_is_finished_later_with_its_own_instants(world: World, settings: Settings) -> None:
    (person,) = await world.contacts()
    await world.record(world.grant(person, occurred_at=NOW - timedelta(hours=1)))
    async with world.sessions.begin() as session:
        await consents.pend_withdrawal(session, person, world.stop(person, received_at=NOW, evidence={"raw": b"\x00"}))

    async with world.sessions.begin() as session:
        done = await consents.finish_pending(
            session, keyring=world.keyring, settings=settings, now=NOW + timedelta(hours=1)
        )

    assert done == 1
    assert (await states(world))[str(person), "marketing"] == "withdrawn"
    async with world.sessions() as session:
        assert (await session.scalars(select(PendingWithdrawal))).all() == []
        last = (await consents.history(session, person))[-1]
    assert last.core["received_at"] == "2026-11-22T12:00:00.000000Z"
    assert last.evidence == {"raw": "AA=="}


async def test_the_clock_ends_grants_requests_and_unresolved_holds(world: World, settings: Settings) -> None:
    expired, asked, held = await world.contacts(3)
    await world.record(
        world.grant(expired),
        world.form(asked, event_type=EventType.REQUESTED),
        world.grant(held),
        world.stop(held, event_type=EventType.HOLD_PLACED, reason="ambiguous_reply"),
    )

    for later in (timedelta(days=8), timedelta(days=731)):
        async with world.sessions.begin() as session:
            await consents.settle_due(session, keyring=world.keyring, settings=settings, now=later + NOW)

    found = await states(world)
    assert found[str(expired), "marketing"] == "expired"
    assert found[str(asked), "marketing"] == "none"
    assert found[str(held), "marketing"] == "withdrawn"
    async with world.sessions.begin() as session:
        again = await consents.settle_due(
            session, keyring=world.keyring, settings=settings, now=NOW + timedelta(days=732)
        )
    assert again == 0


async def test_a_rebuild_finds_nothing_to_do_and_repairs_what_somebody_changed(world: World) -> None:
    a, b, c = await world.contacts(3)
    await world.record(world.grant(a), world.stop(b), world.form(c), world.stop(c, event_type=EventType.HOLD_PLACED))
    async with world.sessions.begin() as session:
        clean = await consents.rebuild(session)
        await session.execute(update(ConsentState).where(ConsentState.contact_id == b).values(state="subscribed"))
        session.add(ConsentState(contact_id=a, purpose="service", state="subscribed", head_seq=1))
    before = await states(world)

    async with world.sessions.begin() as session:
        repaired = await consents.rebuild(session)

    assert (clean.contacts, clean.repaired) == (3, ())
    assert set(repaired.repaired) == {a, b}
    assert (await states(world)) != before
    async with world.sessions.begin() as session:
        assert (await consents.rebuild(session)).repaired == ()


async def test_defaults_are_made_once_and_marketing_follows_the_setting(world: World, settings: Settings) -> None:
    stricter = settings.model_copy(update={"marketing_min_grade": "B"})
    async with world.sessions.begin() as session:
        await consents.ensure_defaults(session, settings, keyring=world.keyring, now=NOW)
        await consents.ensure_defaults(session, stricter, keyring=world.keyring, now=NOW)
        await consents.ensure_defaults(session, stricter, keyring=world.keyring, now=NOW)
        purposes = await consents.list_purposes(session)
        versions = await session.scalar(select(func.count()).select_from(Purpose))
        notices = await consents.list_notices(session)

    assert [(p.code, p.version, p.min_grade, p.needs_consent) for p in purposes] == [
        ("marketing", 2, "B", True),
        ("service", 1, "C", False),
        ("transactional", 1, "C", False),
    ]
    assert (versions, len(notices)) == (4, 1)


async def test_a_new_wording_is_a_new_version_and_the_same_is_refused(world: World) -> None:
    facts = {"code": "default", "language": "en", "controller": "Acme", "purposes": ["marketing"]}
    async with world.sessions.begin() as session:
        first = await consents.publish_notice(
            session, **facts, text="A", withdrawal_info="STOP", keyring=world.keyring, now=NOW
        )
        with pytest.raises(Conflict):
            await consents.publish_notice(
                session, **facts, text="A", withdrawal_info="STOP", keyring=world.keyring, now=NOW
            )
        second = await consents.publish_notice(
            session, **facts, text="B", withdrawal_info="STOP", keyring=world.keyring, now=NOW
        )
        current = await consents.current_notice(session, "marketing", language="en-GB")

    assert (first.version, second.version, first.effective_to) == (2, 3, NOW)
    assert current is not None
    assert current.id == second.id
    assert first.content_hash != second.content_hash


async def test_checkpoints_extend_each_other_and_notice_a_changed_past(
    own_sessions: Sessions, keyring: Keyring, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = await World(own_sessions, keyring, settings).start()
    people = await world.contacts(5)
    sizes = []
    for person in people:
        await world.record(world.grant(person))
        async with own_sessions.begin() as session:
            signed = await ledger.checkpoint(session, keyring)
            assert signed is not None
            sizes.append(signed.size)
            again = await ledger.checkpoint(session, keyring)
            assert again is not None
            assert again.id == signed.id
    assert sizes == [5, 6, 7, 8, 9]
    await world.record(world.stop(people[0]))

    other = Keyring.load(tmp_path_factory.mktemp("other"))
    async with own_sessions() as session:
        with pytest.raises(ledger.LedgerDamaged, match="another key"):
            await ledger.checkpoint(session, other)
    async with own_sessions.begin() as session:
        await session.execute(text("SET ROLE NONE"))
        await session.execute(text("ALTER TABLE consent_events DISABLE TRIGGER ALL"))
        await session.execute(
            text("UPDATE consent_events SET core = replace(core, 'WITHDRAWN', 'OBJECTED') WHERE seq = 10")
        )
    async with own_sessions() as session:
        with pytest.raises(ledger.LedgerDamaged, match="changed or removed"):
            await ledger.checkpoint(session, keyring)
        newest = (await session.scalars(select(Checkpoint).order_by(Checkpoint.size.desc()))).first()
        assert newest is not None
        newest.root = "00" * 32
        with pytest.raises(ledger.LedgerDamaged, match="previous checkpoint"):
            await ledger.checkpoint(session, keyring)


async def test_a_stop_reaches_every_address_of_the_person(world: World) -> None:
    (person,) = await world.contacts()
    async with world.sessions.begin() as session:
        session.add(ContactAddress(contact_id=person, kind="bsuid", value="JP.1", match_key="JP.1"))

    await world.record(world.stop(person, event_type=EventType.META_STOPPED, sender_scope=SENDER))

    async with world.sessions() as session:
        refs = set(await session.scalars(select(Suppression.ref)))
    assert len(refs) == 2
    assert world.keyring.address_refs("JP.1")[0] in refs


async def test_a_row_of_the_ledger_that_is_not_what_its_text_says_is_refused(world: World) -> None:
    """Columns, hash, place and time are checked by the database, whoever writes the row."""
    (person,) = await world.contacts()
    await world.record(world.grant(person))
    like_last = """
        INSERT INTO consent_events (seq, core, leaf_hash, event_id, event_type, subject_id, purpose, controller, grade,
                                    method, next_state, reason, expires_at, recorded_at, source_event_ref)
        SELECT {seq}, text, {hash}, (said->>'event_id')::uuid, {type}, (said->>'subject_id')::uuid, said->>'purpose',
               said->>'controller_id', said->>'grade', said->>'method', said->>'next_state', said->>'reason',
               said->>'expires_at', said->>'recorded_at', said->>'source_event_ref'
          FROM (SELECT seq, leaf_hash, core::jsonb || jsonb_build_object(
                       'seq', seq + 1, 'prev', leaf_hash, 'event_id', gen_random_uuid(), 'source_event_ref', 'r',
                       'recorded_at', {at}) AS said
                  FROM consent_events ORDER BY seq DESC LIMIT 1) AS last, LATERAL (SELECT said::text AS text) AS made
    """
    right = {
        "seq": "(said->>'seq')::bigint",
        "hash": "encode(sha256('\\x00'::bytea || convert_to(text, 'UTF8')), 'hex')",
        "type": "said->>'event_type'",
        "at": "core::jsonb->>'recorded_at'",
    }
    wrong = {
        "seq": ("(said->>'seq')::bigint + 1", "does not follow the head"),
        "hash": ("repeat('0', 64)", "is not what its text says"),
        "type": ("'WITHDRAWN'", "is not what its text says"),
        "at": ("'2020-01-01T00:00:00.000000Z'", "recorded before its predecessor"),
    }
    for name, (value, words) in wrong.items():
        async with world.sessions() as session:
            with pytest.raises(IntegrityError, match=words):
                await session.execute(text(like_last.format(**(right | {name: value}))))
    async with world.sessions.begin() as session:
        await session.execute(text(like_last.format(**right)))


async def test_new_people_who_say_alike_are_recorded_as_each_of_them_alone_would_be(
    world: World, settings: Settings
) -> None:
    """In bulk, an act that differs only by person, time and proof is judged once for all who did it."""
    kinds: list[dict[str, Any]] = [
        {"occurred_at": NOW - timedelta(days=1)},
        {"occurred_at": NOW - timedelta(days=2), "evidence": {"text": "ja"}},
        {"occurred_at": NOW - timedelta(days=800)},
        {"occurred_at": NOW + timedelta(hours=1)},
        {"weakest_grade": Grade.E},
        {"purpose": "transactional"},
        {"notice_id": None},
        {"collection_point": "日本", "language": "ja"},
    ]
    common = {"source": "import", "actor": ActorType.IMPORT, "declared_import": True, "method": Method.WEB_FORM}

    def acts(ids: Sequence[UUID], keys: str) -> list[Act]:
        said = [world.form(each, **common, **kinds[n % 8], source_key=f"{keys}{n}") for n, each in enumerate(ids[:16])]
        stops = [world.stop(each, **common, source_key=f"{keys}s{n}") for n, each in enumerate(ids[16:])]
        return said + stops

    known = await world.contacts(20)
    for one in acts(known, "a"):
        await world.record(one)
    made = [uuid4() for _ in range(20)]
    async with world.sessions.begin() as session:
        newcomers = [Newcomer(each, "JP", f"+8180{n:08}") for n, each in enumerate(made)]
        batch = acts(made, "b")
        judged = await judge(session, batch, keyring=world.keyring, settings=settings, now=NOW, newcomers=newcomers)
        assert len(judged.exemplars) < len(batch)
        events = judged.events_of()
        session.add_all([Contact(id=each, country="JP", consent_version=events[each]) for each in made])
        await session.flush()
        await consents.seal(session, judged, keyring=world.keyring, now=NOW)

    own = ("event_id", "subject_id", "seq", "prev", "source_event_ref", "evidence_commit", "recorded_at")
    async with world.sessions() as session:
        for alone, together in zip(known, made, strict=True):
            cores = [
                [
                    {k: v for k, v in entry.core.items() if k not in own}
                    for entry in await consents.history(session, who)
                ]
                for who in (alone, together)
            ]
            assert cores[0] == cores[1]
        found, rebuilt = await states(world), await consents.rebuild(session)
    assert [found.get((str(each), "marketing")) for each in known] == [
        found.get((str(each), "marketing")) for each in made
    ]
    assert rebuilt.repaired == ()
