"""Consents made invalid in one action: whom it reaches, whom it leaves, and that nothing is sent on them meanwhile."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text

from core.clock import utc_now
from core.consent import gate
from core.consent.acts import Act, ActorType, Method
from core.consent.gate import SendRequest
from core.consent.registry import load_registry
from core.consent.state import EventType
from core.models import ConsentEvent, Contact, ContactAddress, Message, Notice
from core.services import consents, imports, invalidating
from core.services.imports_recording import finish_chunk, prepare_chunk
from core.services.invalidating import Step
from core.services.judging import Outcome
from core.statuses import ImportStatus, MessageKind, Role, SkipReason
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import JOBS, Stack
from tests.integration.test_erasure import a_package
from tests.integration.test_import_steering import desk_of, opened, upload
from tests.integration.test_import_steering import recorded as import_some

NUMBERS = [f"+4917012345{n:03}" for n in range(10)]
WHY = "the printed form named another company"


async def asked(stack: Stack, kind: str, target: str, status: int = 202, **body: str) -> dict[str, Any]:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    answer = await compliance.post("/api/invalidations", json={"kind": kind, "target": target, "reason": WHY, **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def previewed(stack: Stack, kind: str, target: str) -> dict[str, Any]:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    answer = await compliance.get("/api/invalidations/preview", params={"kind": kind, "target": target})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def finished(stack: Stack, asked_for: dict[str, Any]) -> dict[str, Any]:
    await only(stack, "invalidate_consents")
    compliance = await stack.sign_in(Role.COMPLIANCE)
    done: dict[str, Any] = (await compliance.get(f"/api/invalidations/{asked_for['id']}")).json()
    assert done["status"] == "done" and done["finished_at"]
    assert done["invalid"] + done["kept"] + done["ended"] == done["people"] == done["people_done"]
    return done


async def only(stack: Stack, job: str) -> None:
    """Run the bells of one job, and leave the others."""
    for bell in [each for each in stack.bells.waiting if each.job == job]:
        stack.bells.waiting.remove(bell)
        await JOBS[job](stack.ctx, *bell.arguments)


async def recorded(stack: Stack, *acts: Act) -> list[Outcome]:
    async with stack.sessions.begin() as session:
        parts = {"keyring": stack.parts.keyring, "settings": stack.settings}
        return await consents.record(session, acts, **parts, now=utc_now())


async def ids(stack: Stack) -> dict[str, UUID]:
    """The last digit of a number → whose it is."""
    async with stack.sessions() as session:
        found = await session.execute(select(ContactAddress.value, ContactAddress.contact_id))
        return {number[-1]: contact_id for number, contact_id in found}


async def states(stack: Stack, purpose: str = "marketing") -> dict[str, str]:
    async with stack.sessions() as session:
        query = text("SELECT contact_id, state FROM consent_state WHERE purpose = :purpose")
        found = {row.contact_id: row.state for row in await session.execute(query, {"purpose": purpose})}
    return {digit: found[contact_id] for digit, contact_id in (await ids(stack)).items() if contact_id in found}


async def messages(stack: Stack) -> dict[str, str]:
    """The last digit of a number → what became of the message, and why."""
    whose = {contact_id: digit for digit, contact_id in (await ids(stack)).items()}
    async with stack.sessions() as session:
        rows = await session.scalars(select(Message))
        return {whose[row.contact_id]: row.skip_reason or row.status.value for row in rows}


async def notices(stack: Stack) -> tuple[Notice, Notice]:
    """The default notice, and the version that replaced it."""
    async with stack.sessions.begin() as session:
        bad = await consents.current_notice(session, "marketing")
        assert bad is not None
        good = await consents.publish_notice(
            session,
            code=bad.code,
            language=bad.language,
            controller="Acme GmbH",
            purposes=bad.purposes,
            text="I agree that Acme GmbH sends me offers by WhatsApp.",
            withdrawal_info=bad.withdrawal_info,
            keyring=stack.parts.keyring,
            now=utc_now(),
        )
    return bad, good


def tapped(contact_id: UUID, notice_id: UUID, **changes: Any) -> Act:
    """The person agreed inside their own account."""
    facts: dict[str, Any] = {
        "event_type": EventType.GRANTED,
        "purpose": "marketing",
        "source": "wa_webhook",
        "source_key": str(uuid4()),
        "occurred_at": utc_now(),
        "actor": ActorType.DATA_SUBJECT,
        "method": Method.WA_BUTTON,
        "collection_point": "whatsapp/1",
        "notice_id": notice_id,
        "evidence": {"text": "Agree"},
    }
    return Act(contact_id=contact_id, **(facts | changes))


async def a_queue(stack: Stack) -> dict[str, Any]:
    """A campaign to everybody whose messages wait to be sent."""
    sender = await a_sender(stack)
    campaign = await a_campaign(stack, sender, await a_template(stack, sender), await an_audience(stack))
    await launched(stack, campaign)
    await only(stack, "expand_campaign")
    return campaign


async def balance(stack: Stack, campaign: dict[str, Any]) -> dict[str, int]:
    found = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()["balance"]
    audience = found.pop("audience")
    assert sum(found.values()) == audience == len(await messages(stack))
    return {word: number for word, number in found.items() if number}


async def test_scenario_12_a_defective_notice_ends_all_its_consents_in_one_action(stack: Stack) -> None:
    bad, good = await notices(stack)
    under_bad = [consenting(number, notice_id=str(bad.id)) for number in NUMBERS[:6]]
    under_good = [consenting(number, notice_id=str(good.id), source_record_id=f"g{number}") for number in NUMBERS[5:8]]
    await an_import(stack, csv_of(under_bad))
    await an_import(stack, csv_of(under_good))
    people = await ids(stack)
    await recorded(stack, tapped(people["1"], good.id))
    await recorded(stack, tapped(people["2"], bad.id, event_type=EventType.WITHDRAWN, purpose="marketing.*"))
    await recorded(stack, tapped(people["3"], bad.id, event_type=EventType.HOLD_PLACED))
    campaign = await a_queue(stack)

    before = await previewed(stack, "notice", str(bad.id))
    done = await finished(stack, await asked(stack, "notice", str(bad.id)))
    queue = await messages(stack)
    await stack.settle()

    shown = {name: before[name] for name in ("people", "in_force", "elsewhere", "ended", "messages")}
    assert shown == {"people": 6, "in_force": 4, "elsewhere": 1, "ended": 1, "messages": 4}
    counted = {name: done[name] for name in ("people", "invalid", "kept", "ended", "besides", "messages")}
    assert counted == {"people": 6, "invalid": 4, "kept": 1, "ended": 1, "besides": 1, "messages": 4}
    assert (done["name"], done["reason"], done["asked_by"]) == ("default, en, version 1", WHY, "Compliance")
    assert await states(stack) == {
        **dict.fromkeys("0345", "invalid"),
        **dict.fromkeys("167", "subscribed"),
        "2": "withdrawn",
    }
    assert {digit: queue[digit] for digit in "0345"} == dict.fromkeys("0345", "invalid")
    assert {digit: queue[digit] for digit in "167"} == dict.fromkeys("167", "queued")
    sent = await balance(stack, campaign)
    assert (sent.pop("skipped"), sum(sent.values()), "queued" in sent) == (5, 3, False)
    async with stack.sessions.begin() as session:
        assert (await consents.rebuild(session)).repaired == ()
    assert (await a_package(stack, await stack.sign_in(Role.COMPLIANCE))).verdict == "PASS"
    proof = (await (await stack.sign_in(Role.COMPLIANCE)).get(f"/api/campaigns/{campaign['id']}/proof")).json()
    assert proof["holds"], proof
    async with stack.sessions() as session:
        events = await session.execute(
            select(ConsentEvent.subject_id, func.count())
            .where(ConsentEvent.event_type == "INVALIDATED")
            .group_by(ConsentEvent.subject_id)
        )
        assert sorted(row[1] for row in events) == [1] * 5


async def test_from_the_moment_it_is_asked_for_nothing_is_sent_on_such_a_consent(stack: Stack) -> None:
    job = await an_import(stack, csv_of([consenting(number) for number in NUMBERS[:3]]))
    await an_import(stack, csv_of([consenting(NUMBERS[4], source_record_id="other")]))
    await a_queue(stack)

    begun = await asked(stack, "import", job["id"])
    stack.bells.waiting = [bell for bell in stack.bells.waiting if bell.job != "invalidate_consents"]
    await stack.settle()

    assert begun["status"] == "waiting"
    assert await states(stack) == dict.fromkeys("0124", "subscribed")
    found = await messages(stack)
    assert {digit: found[digit] for digit in "012"} == dict.fromkeys("012", "invalid")
    assert [message.person.wa_id for message in stack.sandbox.store.messages] == [NUMBERS[4].removeprefix("+")]


async def test_asking_waits_for_requests_that_are_out_and_the_next_ones_see_it(stack: Stack) -> None:
    job = await an_import(stack, csv_of([consenting(NUMBERS[0])]))
    (person,) = (await ids(stack)).values()
    request = SendRequest(uuid4(), person, "marketing", MessageKind.CAMPAIGN, "200000000000002")

    async with gate.permits(stack.sessions, [request], keyring=stack.parts.keyring) as (allowed, _):
        asking = asyncio.create_task(asked(stack, "import", job["id"]))
        await asyncio.sleep(0.5)
        still_out = not asking.done()
    await asking
    async with gate.permits(stack.sessions, [request], keyring=stack.parts.keyring) as (after, refused):
        pass

    assert (len(allowed), still_out, after) == (1, True, [])
    assert [each.reason for each in refused] == [SkipReason.INVALID]


async def test_an_import_a_batch_and_the_one_who_asks_do_not_wait_for_each_other_in_a_ring(stack: Stack) -> None:
    await an_import(stack, csv_of([{"phone": NUMBERS[0]}]))
    (person,) = (await ids(stack)).values()
    begun = await upload(stack, csv_of([consenting(NUMBERS[0])]))
    request = SendRequest(uuid4(), person, "marketing", MessageKind.CAMPAIGN, "200000000000002")

    async def batch() -> int:
        async with gate.permits(stack.sessions, [request], keyring=stack.parts.keyring) as (allowed, _):
            return len(allowed)

    async with stack.sessions.begin() as session:
        job = await imports.get(session, UUID(begun["id"]))
        job.status = ImportStatus.RUNNING
    with await opened(stack, job) as reading:
        async with stack.sessions() as session:
            chunk = await prepare_chunk(session, job, next(reading.chunks(10)), desk_of(stack, job), now=utc_now())
            deciding = asyncio.create_task(batch())  # waits for the chunk, inside the gate
            await asyncio.sleep(0.3)
            asking = asyncio.create_task(asked(stack, "import", begun["id"]))  # waits for the batch
            await asyncio.sleep(0.3)
            sealed = await finish_chunk(session, chunk, desk_of(stack, job))
            await session.commit()
    allowed, wanted = await deciding, await asking
    await finished(stack, wanted)

    assert (sealed, allowed, await states(stack)) == (True, 1, {"0": "invalid"})
    assert (await stack.client.get(f"/api/imports/{begun['id']}")).json()["status"] == "cancelled"


async def test_a_crash_between_and_within_parts_gives_nobody_a_second_event(stack: Stack) -> None:
    job = await an_import(stack, csv_of([consenting(number) for number in NUMBERS]))
    begun = await asked(stack, "import", job["id"])
    stack.bells.waiting.clear()
    parts: dict[str, Any] = {"keyring": stack.parts.keyring, "settings": stack.settings, "limit": 3}

    async def step(*, dies: bool = False) -> Step:
        async with stack.sessions() as session:
            done = await invalidating.end_some(session, UUID(begun["id"]), **parts, now=utc_now())
            if not dies:
                await session.commit()
        return done

    taken = [await step(), await step(dies=True), await step(dies=True)]
    middle = await states(stack)
    while taken[-1] is Step.MORE:
        taken.append(await step())

    assert (sorted(middle.values()).count("invalid"), taken[-1], await step()) == (3, Step.DONE, Step.NOTHING)
    async with stack.sessions() as session:
        query = text("SELECT count(*), count(DISTINCT subject_id) FROM consent_events WHERE event_type = 'INVALIDATED'")
        assert tuple((await session.execute(query)).one()) == (10, 10)
    assert (await finished(stack, begun))["invalid"] == 10


async def test_what_was_being_recorded_while_a_notice_was_found_defective_ends_too(stack: Stack) -> None:
    bad, good = await notices(stack)
    await an_import(stack, csv_of([{"phone": number} for number in NUMBERS[:3]]))
    people = await ids(stack)
    async with stack.sessions() as late, late.begin():
        known = await load_registry(late)  # it has read that the notice is good
        begun = await asked(stack, "notice", str(bad.id))
        async with stack.sessions.begin() as session:
            parts: dict[str, Any] = {"keyring": stack.parts.keyring, "settings": stack.settings, "now": utc_now()}
            waits = await invalidating.end_some(session, UUID(begun["id"]), **parts)
        (outcome,) = await consents.record(late, [tapped(people["0"], bad.id)], **parts, registry=known)
    after = await recorded(stack, tapped(people["1"], bad.id), tapped(people["2"], good.id))

    done = await finished(stack, begun)

    assert (waits, outcome.state) == (Step.WAITS, "subscribed")
    assert [(each.state, each.grade) for each in after] == [("none", "E"), ("subscribed", "B")]
    assert await states(stack) == {"0": "invalid", "1": "none", "2": "subscribed"}
    assert done["invalid"] == 1
    async with stack.sessions() as session:
        current = await consents.current_notice(session, "marketing")
        assert current is not None and current.id == good.id


@pytest.mark.parametrize("point", ['店頭 "銀座" 50%_\\1', "checkout"])
async def test_a_collection_point_is_meant_to_the_letter_and_may_be_used_again_once_it_is_mended(
    stack: Stack, point: str
) -> None:
    bad, _ = await notices(stack)
    await an_import(stack, csv_of([{"phone": number} for number in NUMBERS[:3]]))
    people = await ids(stack)
    await recorded(
        stack,
        tapped(people["0"], bad.id, collection_point=point),
        tapped(people["1"], bad.id, collection_point=f"{point}-2"),
    )

    done = await finished(stack, await asked(stack, "collection_point", point))
    await recorded(stack, tapped(people["2"], bad.id, collection_point=point))

    assert (done["people"], done["invalid"], done["target"]) == (1, 1, point)
    assert await states(stack) == {"0": "invalid", "1": "subscribed", "2": "subscribed"}
    await asked(stack, "collection_point", f"{point}?", 404)


async def test_a_withdrawal_that_a_bad_form_had_lifted_is_in_force_again_for_every_import(stack: Stack) -> None:
    bad, _ = await notices(stack)
    await an_import(stack, csv_of([{"phone": NUMBERS[0]}]))
    (person,) = (await ids(stack)).values()
    an_hour_ago = utc_now() - timedelta(hours=1)
    stop = tapped(person, bad.id, event_type=EventType.WITHDRAWN, purpose="marketing.*", occurred_at=an_hour_ago)
    await recorded(stack, stop)
    (lifted,) = await recorded(stack, tapped(person, bad.id, collection_point="form/bad"))

    await finished(stack, await asked(stack, "collection_point", "form/bad"))
    again = await an_import(stack, csv_of([consenting(NUMBERS[0], source_record_id="again")]))

    assert (lifted.state, await states(stack)) == ("subscribed", {"0": "withdrawn"})
    assert again["verdicts"] == {"refused_suppressed": 1}
    async with stack.sessions() as session:
        live = await session.scalar(text("SELECT count(*) FROM suppressions WHERE lifted_at IS NULL"))
        assert live == 1


async def test_an_import_under_way_ends_and_what_it_brought_is_invalid(stack: Stack) -> None:
    job = await upload(stack, csv_of([consenting(number) for number in NUMBERS[:3]]))
    stack.bells.waiting.clear()
    await import_some(stack, job, size=2, chunks=1)

    await finished(stack, await asked(stack, "import", job["id"]))

    ended = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert (ended["status"], ended["finished_at"] is not None) == ("cancelled", True)
    assert await states(stack) == {"0": "invalid", "1": "invalid"}


async def test_nobody_is_messaged_on_a_file_that_was_undone(stack: Stack) -> None:
    job = await an_import(stack, csv_of([consenting(number) for number in NUMBERS[:2]]))
    await a_queue(stack)

    undone = await stack.client.post(f"/api/imports/{job['id']}/undo")
    stack.bells.waiting.sort(key=lambda bell: bell.job != "send_messages")  # sending may come first
    await stack.settle()

    assert undone.status_code == 200
    assert await states(stack) == {"0": "invalid", "1": "invalid"}
    assert await messages(stack) == {"0": "invalid", "1": "invalid"}
    compliance = await stack.sign_in(Role.COMPLIANCE)
    (listed,) = (await compliance.get("/api/invalidations")).json()["items"]
    assert (listed["name"], listed["invalid"], listed["asked_by"]) == ("people.csv", 2, "Marketer")
    assert (listed["reason"], listed["status"]) == ("The import was undone", "done")


async def test_asking_is_answered_once_and_every_mistake_has_a_sentence(stack: Stack) -> None:
    job = await an_import(stack, csv_of([consenting(NUMBERS[0])]))
    compliance = await stack.sign_in(Role.COMPLIANCE)
    body = {"kind": "import", "target": job["id"], "reason": "bought from +4917012345678"}
    key = {"idempotency-key": "k1"}

    first = await compliance.post("/api/invalidations", json=body, headers=key)
    again = await compliance.post("/api/invalidations", json=body, headers=key)
    twice = await compliance.post("/api/invalidations", json=body)

    assert (first.status_code, again.json()) == (202, first.json())
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
    assert "12345678" not in first.json()["reason"]
    wrong: Sequence[tuple[dict[str, str], int, str]] = [
        ({"target": str(uuid4())}, 404, "no such import"),
        ({"target": "people.csv"}, 422, "name the import by its id"),
        ({"kind": "notice", "target": str(uuid4())}, 404, "no such notice"),
        ({"kind": "collection_point", "target": "nowhere"}, 404, "exactly this name"),
        ({"kind": "country"}, 400, "kind"),
        ({"reason": "no"}, 400, "reason"),
    ]
    for change, status, words in wrong:
        answer = await compliance.post("/api/invalidations", json={**body, **change})
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    (entry,) = (await compliance.get("/api/audit-log", params={"action": "consents.invalidated"})).json()["items"]
    assert (entry["object_id"], entry["facts"]) == (first.json()["id"], {"kind": "import"})
    await finished(stack, first.json())
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Contact)) == 1
