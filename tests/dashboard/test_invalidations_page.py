"""The page on which consents are made invalid: the count first, then a reason and a word, then what became of them."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest

from core.clock import utc_now
from core.db import make_engine, make_sessions
from core.keys import Keyring
from core.services import invalidating
from core.services.invalidating import Step
from core.statuses import Role
from tests.dashboard.conftest import PASSWORD, Stack, Visit, said

POINT = "stand at the *fair*"


@pytest.fixture
def client(full_stack: Stack, dashboard: Visit) -> Iterator[httpx.Client]:
    """The API as the compliance desk."""
    with httpx.Client(base_url=full_stack.url, trust_env=False) as client:
        body = {"email": "compliance@example.com", "password": PASSWORD}
        client.headers["authorization"] = f"Bearer {client.post('/api/session', json=body).json()['token']}"
        yield client


def agreed(client: httpx.Client, phone: str) -> None:
    (notice,) = [each for each in client.get("/api/notices").json()["items"] if each["code"] == "default"]
    body = {
        "action": "opt_in",
        "source_record_id": phone,
        "occurred_at": utc_now().isoformat(),
        "phone": phone,
        "method": "paper",
        "notice_id": notice["id"],
        "collection_point": POINT,
        "evidence": {"sheet": "17"},
    }
    answer = client.post("/api/consents", json=body)
    assert answer.json()["state"] == "subscribed", answer.text


async def worked(stack: Stack, invalidation_id: str) -> None:
    engine = make_engine(stack.settings.database_url)
    step = Step.MORE
    while step is Step.MORE:
        async with make_sessions(engine).begin() as session:
            step = await invalidating.end_some(
                session,
                UUID(invalidation_id),
                keyring=Keyring.load(stack.settings.data_dir),
                settings=stack.settings,
                now=utc_now(),
            )
    await engine.dispose()


def test_an_officer_sees_the_count_first_and_confirms_with_a_reason_and_a_word(
    dashboard: Visit, full_stack: Stack, client: httpx.Client
) -> None:
    agreed(client, "+4915112345601")
    agreed(client, "+4915112345602")
    at = dashboard(Role.COMPLIANCE, "invalidations")
    assert "No consents have been made invalid so far." in said(at)
    at.segmented_control(key="bad_kind").set_value("collection_point").run()
    at.text_input(key="bad_point").set_value("somewhere else").run()
    at.button(key="invalidation_look").click().run()
    assert "agreed at a collection point with exactly this name" in said(at)

    at.text_input(key="bad_point").set_value(POINT).run()
    at.button(key="invalidation_look").click().run()
    assert [(tile.label, tile.value) for tile in at.metric] == [
        ("People it touches", "2"),
        ("Messages in the queue that end", "0"),
    ]
    at.text_input(key="invalidation_reason").set_value("nobody signed the sheet").run()
    assert at.button(key="invalidation_do").disabled
    at.text_input(key="invalidation_typed").set_value("invalid").run()
    at.button(key="invalidation_do").click().run()
    assert "Nothing is sent on these consents any more" in "".join(str(each.proto) for each in at.get("progress"))
    (asked,) = client.get("/api/invalidations").json()["items"]
    asyncio.run(worked(full_stack, asked["id"]))
    at.run()

    assert not at.exception and not at.error
    assert "2 of 2 people may not be messaged on it any more" in said(at)
    assert r"Place where they agreed\: stand at the \*fair\*" in said(at)
    assert "Some compliance" in said(at) and "nobody signed the sheet" in said(at)


def test_an_auditor_reads_and_others_do_not_come_in(dashboard: Visit) -> None:
    reader = dashboard(Role.AUDITOR, "invalidations")

    assert "Invalid consents" in said(reader)
    assert "invalidation_look" not in [button.key for button in reader.button]
