"""Lists as CSV: the same rows as the list, every page of them, and nothing a spreadsheet would run."""

import csv
import io
from typing import Any

import httpx
from sqlalchemy import text

from core.models import WebhookField
from core.statuses import Role
from tests.factories import a_sender
from tests.integration.stack import Stack
from tests.integration.test_api_replies import UNCLEAR
from tests.integration.test_keyword_answers import a_subscriber, writes


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_conversations_come_as_a_file_with_the_filters_of_the_list(stack: Stack) -> None:
    await a_sender(stack)
    for number in range(3):
        await stack.steer("PUT", f"people/+49170123480{number}", {"name": f"=Person {number}"})
        await writes(stack, f"Question {number}", f"+49170123480{number}")
    closed = (await stack.client.get("/api/conversations", params={"q": "person 2"})).json()["items"][0]
    await stack.client.post(f"/api/conversations/{closed['id']}/close")

    rows = rows_of(await stack.client.get("/api/conversations/export.csv"))

    assert [row["last_words"] for row in rows] == ["Question 2", "Question 1", "Question 0"]
    assert (rows[0]["name"], rows[0]["status"], rows[1]["unread"]) == ("'=Person 2", "closed", "1")
    assert rows[0]["last_message_at"].endswith("+00:00") and "012348" not in rows[0]["number"]
    found = rows_of(await stack.client.get("/api/conversations/export.csv", params={"q": "question 1"}))
    assert [row["last_words"] for row in found] == ["Question 1"]
    opened = rows_of(await stack.client.get("/api/conversations/export.csv", params={"status": "open"}))
    assert len(opened) == 2
    analyst = await stack.sign_in(Role.ANALYST)
    assert (await analyst.get("/api/conversations/export.csv")).status_code == 403
    async with stack.sessions() as session:
        entries = await session.execute(text("SELECT action FROM audit_log WHERE action LIKE '%exported'"))
        assert [entry.action for entry in entries] == ["conversations.exported"] * 3


async def test_people_on_hold_are_searched_and_come_as_a_file(stack: Stack) -> None:
    await a_subscriber(stack)
    await stack.steer("PUT", "people/+491701234701", {"name": "Uma"})
    await writes(stack, UNCLEAR, "+491701234701")
    await writes(stack, "please stop by tomorrow", "+491701234702")
    compliance = await stack.sign_in(Role.COMPLIANCE)

    async def found(**query: Any) -> list[str]:
        listed = (await compliance.get("/api/holds", params=query)).json()["items"]
        exported = rows_of(await compliance.get("/api/holds/export.csv", params=query))
        assert [row["contact_id"] for row in exported] == [hold["contact_id"] for hold in listed]
        assert [row["words"] for row in exported] == [hold["words"] for hold in listed]
        return [hold["words"] for hold in listed]

    assert len(await found()) == 2
    assert await found(q="uma") == [UNCLEAR]
    assert await found(q="TOMORROW") == [UNCLEAR, "please stop by tomorrow"]
    assert await found(q="0170 1234702") == ["please stop by tomorrow"]
    assert await found(q="100%") == []
    assert (await stack.client.get("/api/holds/export.csv")).status_code == 403


async def test_the_webhook_log_comes_as_files_page_after_page(stack: Stack) -> None:
    async with stack.sessions.begin() as session:
        await session.execute(
            text("INSERT INTO webhook_events (body, status, error)"
                 " SELECT '{', 'set_aside', 'broken ' || n FROM generate_series(1, 450) AS n")
        )  # fmt: skip
        await session.execute(
            text("INSERT INTO parked_statuses (wamid, status, phone_number_id, report, alerted_at)"
                 " SELECT 'wamid.' || n, 'read', '1', '{}', now() FROM generate_series(1, 3) AS n")
        )  # fmt: skip
        session.add(WebhookField(name="new_thing", known=False, count=7))

    aside = rows_of(await stack.client.get("/api/webhooks/set-aside.csv"))
    assert [row["reason"] for row in aside] == [f"broken {number}" for number in range(450, 0, -1)]
    assert len(rows_of(await stack.client.get("/api/webhooks/set-aside.csv", params={"q": "broken 44"}))) == 11
    orphans = rows_of(await stack.client.get("/api/webhooks/orphans.csv"))
    assert [row["wamid"] for row in orphans] == ["wamid.3", "wamid.2", "wamid.1"]
    unknown = rows_of(await stack.client.get("/api/webhooks/fields.csv", params={"known": "false"}))
    assert [(row["name"], row["known"], row["count"]) for row in unknown] == [("new_thing", "no", "7")]
    assert rows_of(await stack.client.get("/api/webhooks/account-events.csv")) == []
