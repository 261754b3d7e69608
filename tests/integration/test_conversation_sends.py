"""Beyond words in a conversation: templates when the window is closed, files people send, and the thread's order."""

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from core.clock import utc_now
from core.models import Link, ReceivedFile
from core.services import received, retention
from core.statuses import ReceivedStatus, Role
from sandbox.state import Media
from tests.factories import a_sender, a_template, an_import, consenting, csv_of
from tests.integration.stack import Stack
from tests.integration.test_conversations import age, inbox
from tests.integration.test_keyword_answers import ANA, got, writes
from worker.files import fetch_files, ring_files

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FILLED = {
    "body.1": {"source": "contact.name", "fallback": "friend"},
    "body.2": {"text": "20 %"},
    "button.0": {"link": "https://shop.example/sale"},
    "button.1": {"payload": "optout:marketing"},
}
UPDATE = [{"type": "BODY", "text": "Your parcel {{1}} is there.", "example": {"body_text": [["17"]]}}]


async def uploads(stack: Stack, content: bytes = PIXEL, mime_type: str = "image/png", **more: Any) -> Media:
    """The person sends a file, which the provider keeps."""
    told = {"content_base64": base64.b64encode(content).decode(), "mime_type": mime_type, **more}
    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "file", **told})
    media: Media = list(stack.sandbox.store.media.values())[-1]
    return media


async def sends(stack: Stack, content: bytes = PIXEL, mime_type: str = "image/png", **more: Any) -> None:
    """The person sends a file, and everything it causes happens."""
    await uploads(stack, content, mime_type, **more)
    await stack.settle()


async def thread(stack: Stack, conversation: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = await stack.client.get(f"/api/conversations/{conversation['id']}/messages", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def an_old_conversation(stack: Stack) -> dict[str, Any]:
    """Somebody who agreed to marketing wrote a day and two hours ago."""
    sender = await a_sender(stack)
    await an_import(stack, csv_of([consenting(ANA)]))
    await a_template(stack, sender)
    parcel = {"name": "parcel", "category": "utility", "purpose": "transactional", "components": UPDATE}
    await a_template(stack, sender, **parcel)
    await writes(stack, "Hello")
    await age(stack, 26)
    (row,) = await inbox(stack)
    return row


async def offered(stack: Stack, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await stack.client.get(f"/api/conversations/{row['id']}/templates")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["items"]}


async def test_a_template_goes_out_when_the_window_is_closed(stack: Stack) -> None:
    row = await an_old_conversation(stack)
    address = f"/api/conversations/{row['id']}"
    assert (await stack.client.post(f"{address}/reply", json={"text": "Hi"})).status_code == 409
    offer = (await offered(stack, row))["spring_offer"]
    assert offer["refusal"] is None and {hole["key"] for hole in offer["placeholders"]} == set(FILLED)

    body = {"template_id": offer["template_id"], "parameters": FILLED}
    for _ in range(2):  # the same key sends it once
        sent = await stack.client.post(f"{address}/template", json=body, headers={"idempotency-key": "one"})
        assert sent.status_code == 202, sent.text
    await stack.settle()

    (line, *_) = [each for each in (await thread(stack, row))["items"] if not each["is_inbound"]]
    assert (line["words"], line["author"]) == ("Hello Ana, everything is 20 % off until Sunday.", "Marketer")
    assert line["status"] in ("sent", "delivered", "read")
    messages = (await stack.steering.get("/_sandbox/messages")).json()["items"]
    assert [each["template"] for each in messages if each["template"]] == ["spring_offer"]
    async with stack.sessions() as session:
        assert [link.url for link in await session.scalars(select(Link))] == ["https://shop.example/sale"]
    (row,) = await inbox(stack)
    assert (row["status"], row["assignee"]) == ("open", "Marketer")


async def test_only_templates_the_person_allows_are_offered_and_sent(stack: Stack) -> None:
    row = await an_old_conversation(stack)
    await writes(stack, "STOP")
    (row,) = await inbox(stack)
    assert row["refusals"] == [{"purpose": "marketing.*", "why": "withdrawn"}]

    offers = await offered(stack, row)

    assert (offers["spring_offer"]["refusal"], offers["parcel"]["refusal"]) == ("suppressed", None)
    address = f"/api/conversations/{row['id']}/template"
    refused = await stack.client.post(
        address, json={"template_id": offers["spring_offer"]["template_id"], "parameters": FILLED}
    )
    assert (refused.status_code, refused.json()["reason"]) == (409, "suppressed")
    parcel = {"template_id": offers["parcel"]["template_id"], "parameters": {"body.1": {"text": "17"}}}
    assert (await stack.client.post(address, json=parcel)).status_code == 202
    missing = await stack.client.post(address, json={**parcel, "parameters": {}})
    assert missing.status_code == 422 and "body.1" in missing.text
    analyst = await stack.sign_in(Role.ANALYST)
    assert (await analyst.post(address, json=parcel)).status_code == 403


async def test_a_withdrawal_after_the_queueing_still_stops_the_template(stack: Stack) -> None:
    row = await an_old_conversation(stack)
    offer = (await offered(stack, row))["spring_offer"]
    body = {"template_id": offer["template_id"], "parameters": FILLED}
    sent = await stack.client.post(f"/api/conversations/{row['id']}/template", json=body)
    assert sent.status_code == 202
    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "text", "text": "STOP"})  # before the worker comes

    await stack.settle()

    lines = {line["id"]: line for line in (await thread(stack, row))["items"]}
    line = lines[sent.json()["message_id"]]
    assert (line["status"], line["skip_reason"]) == ("skipped", "suppressed")


async def test_a_thread_has_every_line_once_in_the_order_in_which_it_was_said(stack: Stack) -> None:
    await a_sender(stack)
    for number in range(6):  # within the same second or two, as the provider tells time
        await stack.steer("POST", "inbound", {"phone": ANA, "kind": "text", "text": f"word {number}"})
    await stack.settle()
    (row,) = await inbox(stack)
    for number in range(3):
        reply = {"text": f"answer {number}"}
        assert (await stack.client.post(f"/api/conversations/{row['id']}/reply", json=reply)).status_code == 202
    await stack.settle()

    lines: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await thread(stack, row, limit=2, **({"cursor": cursor} if cursor else {}))
        lines += page["items"]
        cursor = page["next"]
        if cursor is None:
            break

    assert len({line["id"] for line in lines}) == len(lines)
    said = [line["words"] for line in reversed(lines)]
    assert said == [*(f"word {number}" for number in range(6)), *(f"answer {number}" for number in range(3))]
    assert (await stack.client.get(f"/api/conversations/{row['id']}/messages?cursor=AAAA")).status_code == 422


async def test_a_message_that_waited_stands_where_it_was_sent(stack: Stack) -> None:
    await a_sender(stack)
    await writes(stack, "first")
    (row,) = await inbox(stack)
    assert (await stack.client.post(f"/api/conversations/{row['id']}/reply", json={"text": "late"})).status_code == 202
    await stack.settle()
    async with stack.sessions.begin() as session:  # its row is older than what was said meanwhile, as a campaign's is
        await session.execute(text("UPDATE messages SET accepted_at = accepted_at + interval '1 minute'"))
        await session.execute(text("UPDATE inbound_messages SET occurred_at = occurred_at - interval '1 minute'"))
    await writes(stack, "second")

    said = [line["words"] for line in reversed((await thread(stack, row))["items"])]

    assert said == ["first", "second", "late"]


async def test_a_picture_is_fetched_shown_and_downloaded(stack: Stack) -> None:
    await a_sender(stack)
    await sends(stack, text="Is this the blue one?")
    (row,) = await inbox(stack)
    (line,) = (await thread(stack, row))["items"]
    assert (line["words"], line["kind"]) == ("Is this the blue one?", "image")
    assert line["file"] == {
        "status": "stored",
        "mime_type": "image/png",
        "filename": None,
        "bytes": len(PIXEL),
        "error": None,
    }

    address = f"/api/conversations/{row['id']}/messages/{line['id']}/file"
    file = await stack.client.get(address)

    assert (file.status_code, file.content, file.headers["content-type"]) == (200, PIXEL, "image/png")
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["x-content-type-options"] == "nosniff"
    analyst = await stack.sign_in(Role.ANALYST)
    assert (await analyst.get(address)).status_code == 403


async def test_a_document_keeps_its_name_and_none_of_it_reaches_the_disk(stack: Stack) -> None:
    await a_sender(stack)
    await sends(stack, b"%PDF-1.7", "application/pdf", filename="../../etc/invoice 7.pdf")
    (row,) = await inbox(stack)
    (line,) = (await thread(stack, row))["items"]

    file = await stack.client.get(f"/api/conversations/{row['id']}/messages/{line['id']}/file")

    assert file.content == b"%PDF-1.7"
    assert ".._.._etc_invoice" in file.headers["content-disposition"].replace("%20", " ")
    kept = [path.name for path in received.folder(stack.settings).iterdir()]
    assert len(kept) == 1 and len(kept[0]) == 36


async def test_a_file_that_is_too_large_or_unknown_says_so(stack: Stack) -> None:
    await a_sender(stack)
    media = await uploads(stack)
    media.content = b"x" * ((stack.settings.media_max_mb << 20) + 1)
    raw = {"type": "image", "image": {"id": "123", "mime_type": "image/png"}}
    await stack.steer("POST", "inbound", {"phone": ANA, "kind": "raw", "raw": raw})
    await stack.settle()
    (row,) = await inbox(stack)

    unknown, large = (await thread(stack, row))["items"]

    assert (large["file"]["status"], unknown["file"]["status"]) == ("too_large", "lost")
    assert "KAIRAN_MEDIA_MAX_MB" in large["file"]["error"]
    answer = await stack.client.get(f"/api/conversations/{row['id']}/messages/{large['id']}/file")
    assert answer.status_code == 409 and "larger than" in answer.json()["detail"]
    assert list(received.folder(stack.settings).iterdir()) == []


async def test_a_file_that_arrives_damaged_is_tried_again_later(stack: Stack) -> None:
    await a_sender(stack)
    media = await uploads(stack)
    whole, media.content = media.content, b"broken"
    await stack.settle()
    async with stack.sessions.begin() as session:
        (row,) = await session.scalars(select(ReceivedFile))
        assert (row.status, row.attempts, row.path) == (ReceivedStatus.WAITING, 1, None)
        assert row.next_at > utc_now()
        row.next_at = utc_now()
    media.content = whole

    await ring_files(stack.ctx)
    await stack.work()

    async with stack.sessions() as session:
        (row,) = await session.scalars(select(ReceivedFile))
        assert (row.status, Path(str(row.path)).read_bytes()) == (ReceivedStatus.STORED, PIXEL)
    assert await fetch_files(stack.ctx) == 0


async def test_erasure_takes_the_files_and_retention_those_whose_time_is_over(stack: Stack) -> None:
    await a_sender(stack)
    await sends(stack)
    (row,) = await inbox(stack)
    folder = received.folder(stack.settings)
    (path,) = folder.iterdir()
    async with stack.sessions.begin() as session:
        later = utc_now() + timedelta(days=stack.settings.keep_media_days + 1)
        done = await retention.purge(session, settings=stack.settings, now=later)
        assert done["received_files"] == 1 and not path.exists()
    (line,) = (await thread(stack, row))["items"]
    assert line["file"]["status"] == "removed"
    await sends(stack, text="again")
    assert len(list(folder.iterdir())) == 1
    officer = await stack.sign_in(Role.COMPLIANCE)

    erased = await officer.request(
        "DELETE", f"/api/contacts/{row['contact_id']}", params={"reason": "asked by letter", "dry_run": "false"}
    )

    assert erased.status_code == 200, erased.text
    assert list(folder.iterdir()) == []
    async with stack.sessions() as session:
        assert list(await session.scalars(select(ReceivedFile))) == []
    assert await got(stack) == []
