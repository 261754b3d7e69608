"""Numbers change hands: no agreement goes with them, every stop does."""

from typing import Any

from sqlalchemy import select

from core.clock import utc_now
from core.models import ConsentEvent, Contact, ContactAddress
from tests.factories import consenting, csv_of
from tests.integration.stack import Stack
from tests.integration.test_keyword_answers import ANA, a_subscriber, an_import, state, writes
from tests.integration.test_webhooks import dump

NEW = "+491709999900"


async def from_account(stack: Stack, user_id: str, words: str, wamid: str) -> None:
    """A text from Ana's number, under a given account."""
    message = {"from": ANA.lstrip("+"), "from_user_id": user_id, "id": wamid, "type": "text", "text": {"body": words}}
    message["timestamp"] = str(int(utc_now().timestamp()))
    value = {"metadata": {"phone_number_id": "200000000000002"}, "messages": [message]}
    await stack.steer("POST", "webhooks", {"field": "messages", "value": value})
    await stack.settle()


async def reachable(stack: Stack) -> dict[str, Any]:
    answer = await stack.client.post("/api/audiences/preview", json={"rule": {"all": []}})
    found: dict[str, Any] = answer.json()
    return found


async def events(stack: Stack) -> list[tuple[str, str | None]]:
    async with stack.sessions() as session:
        rows = await session.execute(
            select(ConsentEvent.event_type, ConsentEvent.reason)
            .where(ConsentEvent.subject_id.is_not(None))
            .order_by(ConsentEvent.seq)
        )
        return [(row.event_type, row.reason) for row in rows]


async def test_another_account_under_a_known_number_is_somebody_who_agreed_to_nothing(stack: Stack) -> None:
    await a_subscriber(stack)
    await from_account(stack, "DE.first", "hello", "wamid.T1")
    assert (await state(stack))[0] == "subscribed"

    await from_account(stack, "DE.second", "hi", "wamid.T2")

    assert (await state(stack))[0] == "none"
    assert ("TENURE_CLOSED", "recycled") in await events(stack)
    assert (await reachable(stack))["reachable"] == 0
    async with stack.sessions() as session:
        tenures = list(await session.scalars(select(Contact.closed_at).order_by(Contact.id)))
        held = list(await session.scalars(select(ContactAddress.value).where(ContactAddress.closed_at.is_(None))))
    assert [closed is not None for closed in tenures] == [True, False]
    assert sorted(held) == [ANA, "DE.second"]


async def test_a_late_message_of_the_former_holder_changes_nothing_for_the_new_one(stack: Stack) -> None:
    await a_subscriber(stack)
    await from_account(stack, "DE.first", "hello", "wamid.T1")
    await from_account(stack, "DE.second", "hi", "wamid.T2")
    before = await dump(stack)

    await from_account(stack, "DE.first", "hello", "wamid.T1")
    assert await dump(stack) == before
    await from_account(stack, "DE.first", "STOP", "wamid.T3")

    assert (await state(stack))[0] == "none"


async def test_a_stop_follows_the_person_to_a_new_number_and_stays_with_the_old_one(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "STOP")

    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "change_number", "new_phone": NEW})
    await stack.settle()

    assert (await state(stack, phone=NEW))[0] == "withdrawn"
    assert ("WITHDRAWN", "account_changed") in await events(stack)
    again = await an_import(stack, csv_of([consenting(ANA, source_record_id="again"), consenting(NEW)]))
    assert again["verdicts"] == {"refused_suppressed": 2}


async def test_an_agreement_does_not_follow_to_a_new_number(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, "hello")

    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "change_number", "new_phone": NEW})
    await stack.settle()

    assert (await state(stack, phone=NEW))[0] == "none"
    assert ("TENURE_CLOSED", "account_changed") in await events(stack)
    found = (await stack.client.get("/api/contacts", params={"phone": ANA})).json()["items"]
    assert found == []
    assert (await reachable(stack))["reachable"] == 0
