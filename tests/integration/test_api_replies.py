"""The review of people on hold, and the wording of automatic answers, over the API."""

import pytest

from core.statuses import Role
from tests.integration.stack import Stack
from tests.integration.test_keyword_answers import ANA, a_subscriber, got, kinds, state, taps, writes

UNCLEAR = "can I stop by the store tomorrow?"


async def test_compliance_reads_what_was_written_and_decides_with_a_reason(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, UNCLEAR)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    (hold,) = (await compliance.get("/api/holds")).json()["items"]
    assert (hold["words"], hold["purpose"], hold["language"]) == (UNCLEAR, "marketing.*", "en")
    assert hold["phone_masked"].endswith("00") and ANA not in hold["phone_masked"]

    assert (await stack.client.get("/api/holds")).status_code == 403
    bare = await compliance.post(f"/api/holds/{hold['contact_id']}/release", json={"reason": ""})
    assert bare.status_code == 400
    freed = await compliance.post(f"/api/holds/{hold['contact_id']}/release", json={"reason": "asks for the way"})

    assert freed.json()["state"] == "subscribed"
    assert await state(stack) == ("subscribed", [])
    assert (await compliance.get("/api/holds")).json()["items"] == []
    again = await compliance.post(f"/api/holds/{hold['contact_id']}/withdraw", json={"reason": "too late"})
    assert again.status_code == 409


async def test_a_reviewer_may_read_it_as_a_stop(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, UNCLEAR)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    (hold,) = (await compliance.get("/api/holds")).json()["items"]

    await compliance.post(f"/api/holds/{hold['contact_id']}/withdraw", json={"reason": "clear enough"})

    assert await state(stack) == ("withdrawn", [])
    assert (await compliance.get("/api/holds")).json()["items"] == []


async def test_the_queue_pages_and_loses_nobody(stack: Stack) -> None:
    people = [f"+4917012347{number:02d}" for number in range(5)]
    await a_subscriber(stack)
    for phone in people:
        await stack.steer("POST", "inbound", {"phone": phone, "kind": "text", "text": UNCLEAR})
    await stack.settle()
    compliance = await stack.sign_in(Role.COMPLIANCE)

    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await compliance.get("/api/holds", params=query)).json()
        seen += [hold["contact_id"] for hold in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) == 5


async def test_a_clear_stop_after_an_unclear_message_ends_the_pause_too(stack: Stack) -> None:
    await a_subscriber(stack)
    await writes(stack, UNCLEAR)

    await writes(stack, "STOP")

    assert await state(stack) == ("withdrawn", [])


async def test_the_own_wording_is_used_and_the_built_in_one_comes_back(stack: Stack) -> None:
    await a_subscriber(stack, language="pt_BR")
    own = {"body": "{brand} parou: {what}.", "buttons": []}
    assert (await stack.client.put("/api/reply-texts/stop_confirmed/pt", json=own)).json()["is_own"]

    await writes(stack, "SAIR")

    assert await got(stack) == ["Acme parou: ofertas e novidades."]
    assert (await stack.client.delete("/api/reply-texts/stop_confirmed/pt")).status_code == 204
    texts = (await stack.client.get("/api/reply-texts")).json()["items"]
    (portuguese,) = [t for t in texts if (t["kind"], t["language"]) == ("stop_confirmed", "pt")]
    assert not portuguese["is_own"] and portuguese["placeholders"] == ["brand", "what"]


@pytest.mark.parametrize(
    ("address", "wording", "status", "says"),
    [
        ("stop_confirmed/en", {"body": "Bye."}, 422, "{what}"),
        ("stop_confirmed/en", {"body": "{what} ended, see https://acme.example"}, 422, "link"),
        ("help/en", {"body": "{nme}"}, 422, "{nme}"),
        ("help/en", {"body": "Hi", "buttons": ["One"]}, 422, "has no buttons"),
        ("hold_question/en", {"body": "Stop?", "buttons": ["Same", "Same"]}, 422, "2 different buttons"),
        ("hold_question/en", {"body": "Stop?", "buttons": ["x" * 21, "Keep"]}, 422, "20 characters"),
        ("help/EN_us", {"body": "Hi"}, 422, "language"),
        ("person/en", {"body": "Hi"}, 404, "no such answer"),
        ("help/en", {"body": ""}, 400, "body"),
    ],
)
async def test_a_wording_that_could_not_be_sent_is_refused(
    stack: Stack, address: str, wording: dict[str, object], status: int, says: str
) -> None:
    answer = await stack.client.put(f"/api/reply-texts/{address}", json={"buttons": [], **wording})

    assert (answer.status_code, says in answer.text) == (status, True), answer.text


async def test_the_stop_button_of_the_question_is_confirmed_in_the_persons_language(stack: Stack) -> None:
    await a_subscriber(stack, language="ja")
    await writes(stack, "not interested anymore")

    await taps(stack, 0)

    assert await kinds(stack) == ["hold_question", "stop_confirmed"]
    assert (await got(stack))[1].startswith("Acmeからの配信")
