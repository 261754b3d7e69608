"""The inbox: conversations open when people write, and answers go out while the service window is open."""

from typing import Any

from sqlalchemy import text

from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_keyword_answers import ANA, got, taps, writes


async def inbox(stack: Stack, **query: Any) -> list[dict[str, Any]]:
    answer = await stack.client.get("/api/conversations", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def age(stack: Stack, hours: int) -> None:
    """Let everything people wrote be so much older."""
    back = f"interval '{hours} hours'"
    async with stack.sessions.begin() as session:
        await session.execute(text(f"UPDATE conversations SET last_inbound_at = last_inbound_at - {back}"))
        await session.execute(text(f"UPDATE contacts SET last_seen_at = last_seen_at - {back}"))


async def test_a_reply_to_a_campaign_is_read_answered_and_closed(stack: Stack) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(ANA)]))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()

    await writes(stack, "Is it still available?")
    await writes(stack, "Hello?")
    (row,) = await inbox(stack, status="open", unread=True)
    assert (row["campaign"], row["unread"], row["last_words"]) == (campaign["name"], 2, "Hello?")
    assert row["phone_masked"] and ANA not in row["phone_masked"]
    answer = await stack.client.post(f"/api/conversations/{row['id']}/reply", json={"text": "Yes, until Sunday."})
    assert answer.status_code == 202, answer.text
    await stack.settle()

    assert (await got(stack))[-1] == "Yes, until Sunday."
    page = (await stack.client.get(f"/api/conversations/{row['id']}/messages", params={"limit": 2})).json()
    first = page["items"]
    rest = (await stack.client.get(f"/api/conversations/{row['id']}/messages", params={"cursor": page["next"]})).json()[
        "items"
    ]
    lines = [(line["is_inbound"], line["kind"], line["words"]) for line in [*first, *rest]]
    assert lines == [
        (False, "person", "Yes, until Sunday."),
        (True, "text", "Hello?"),
        (True, "text", "Is it still available?"),
        (False, "campaign", "Hello Ana, everything is 20 % off until Sunday."),
    ]
    assert first[0]["author"] == "Marketer" and first[0]["status"] in ("delivered", "read")
    (row,) = await inbox(stack, assignee="me")
    assert row["unread"] == 0
    closed = await stack.client.post(f"/api/conversations/{row['id']}/close")
    assert closed.json()["status"] == "closed"
    assert await inbox(stack, status="open") == []
    await writes(stack, "Thanks")
    (row,) = await inbox(stack, status="open")
    assert (row["unread"], row["assignee"]) == (1, None)


async def test_an_answer_after_24_hours_is_refused_with_the_reason(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "Hello")
    (row,) = await inbox(stack)
    await age(stack, 24)

    answer = await stack.client.post(f"/api/conversations/{row['id']}/reply", json={"text": "Hi"})

    assert (answer.status_code, answer.json()["reason"]) == (409, "window_closed")
    assert "24 hours" in answer.json()["detail"]
    await stack.settle()
    assert await got(stack) == []


async def test_who_wants_no_message_of_any_kind_gets_no_answer_either(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "Hello")
    (row,) = await inbox(stack)
    body = {"action": "opt_out", "purpose": "*", "contact_id": row["contact_id"], "source_record_id": "letter 5"}
    stopped = await stack.client.post("/api/consents", json={**body, "occurred_at": row["last_inbound_at"]})
    assert stopped.status_code == 201, stopped.text

    answer = await stack.client.post(f"/api/conversations/{row['id']}/reply", json={"text": "Hi"})

    assert (answer.status_code, answer.json()["reason"]) == (409, "suppressed")


async def test_the_same_key_sends_an_answer_once(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "Hello")
    (row,) = await inbox(stack)

    for _ in range(3):
        headers = {"idempotency-key": "one"}
        address = f"/api/conversations/{row['id']}/reply"
        assert (await stack.client.post(address, json={"text": "Hi"}, headers=headers)).status_code == 202
    await stack.settle()

    assert await got(stack) == ["Hi"]


async def test_stops_reactions_and_taps_on_our_questions_wake_nobody(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "STOP")
    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "reaction", "text": "👍"})
    await stack.settle()

    (row,) = await inbox(stack)
    assert (row["status"], row["unread"]) == ("closed", 0)


async def test_who_stopped_everything_and_agreed_to_offers_again_is_not_shown_as_opted_out(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "STOP")
    (row,) = await inbox(stack)
    assert row["refusals"] == [{"purpose": "marketing.*", "why": "withdrawn"}]

    await writes(stack, "START")
    await taps(stack, 0)

    (row,) = await inbox(stack)
    assert row["refusals"] == []


async def test_search_finds_by_name_number_and_words_and_pages(stack: Stack) -> None:
    await a_sender(stack)
    people = [f"+4917012348{number:02d}" for number in range(5)]
    for number, phone in enumerate(people):
        await stack.steer("PUT", f"people/{phone}", {"name": f"Person {number}"})
        await stack.steer("POST", "inbound", {"phone": phone, "kind": "text", "text": f"Question {number}"})
        await stack.settle()

    assert [row["name"] for row in await inbox(stack, q="person 3")] == ["Person 3"]
    assert [row["name"] for row in await inbox(stack, q="0170 1234802")] == ["Person 2"]
    assert [row["name"] for row in await inbox(stack, q="question 1")] == ["Person 1"]
    assert await inbox(stack, q="100%") == []
    first = (await stack.client.get("/api/conversations", params={"limit": 3})).json()
    second = (await stack.client.get("/api/conversations", params={"limit": 3, "cursor": first["next"]})).json()
    names = [row["name"] for row in [*first["items"], *second["items"]]]
    assert names == [f"Person {number}" for number in range(4, -1, -1)]


async def test_a_conversation_is_given_to_somebody_who_may_answer(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "Hello")
    (row,) = await inbox(stack)
    analyst = await stack.sign_in(Role.ANALYST)
    await stack.sign_in(Role.APPROVER)
    page = (await stack.client.get("/api/conversations/agents")).json()
    agents = {agent["name"]: agent["id"] for agent in page["items"]}
    assert set(agents) == {"Marketer", "Approver"}

    given = await stack.client.post(f"/api/conversations/{row['id']}/assign", json={"user_id": agents["Approver"]})
    assert given.json()["assignee"] == "Approver"
    assert [r["id"] for r in await inbox(stack, assignee=agents["Approver"])] == [row["id"]]
    assert await inbox(stack, assignee="nobody") == [] == await inbox(stack, assignee="me")
    taken = await stack.client.post(f"/api/conversations/{row['id']}/assign", json={"user_id": row["contact_id"]})
    assert taken.status_code == 422
    assert (await analyst.get("/api/conversations")).status_code == 403
    assert (await stack.client.get("/api/conversations", params={"assignee": "x"})).status_code == 422
