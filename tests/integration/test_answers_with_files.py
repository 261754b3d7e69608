"""Pictures, videos and documents as answers: uploaded, named by their id, sent through the gate inside the window."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update

from core.clock import utc_now
from core.models import CampaignVariant, Media, Sender
from core.services import retention
from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience
from tests.integration.stack import Stack
from tests.integration.test_conversation_sends import PIXEL, thread
from tests.integration.test_conversations import age, inbox
from tests.integration.test_keyword_answers import ANA, writes

BEN = "+491701234501"
JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 20
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 20
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


async def a_conversation(stack: Stack) -> dict[str, Any]:
    await a_sender(stack)
    await writes(stack, "Do you have it in blue?")
    (row,) = await inbox(stack)
    return row


async def upload(
    stack: Stack,
    row: dict[str, Any],
    content: bytes = PIXEL,
    name: str = "blue.png",
    kind: str = "image/png",
) -> httpx.Response:
    form = {"sender_id": row["sender_id"]}
    return await stack.client.post("/api/media", files={"file": (name, content, kind)}, data=form)


async def answer(stack: Stack, row: dict[str, Any], client: httpx.AsyncClient | None = None, **body: Any) -> Any:
    return await (client or stack.client).post(f"/api/conversations/{row['id']}/reply", json=body)


async def shown(stack: Stack, phone: str = ANA) -> list[dict[str, Any]]:
    """What the person's phone shows of us, oldest first."""
    items = (await stack.steering.get("/_sandbox/messages")).json()["items"]
    return [item for item in items if item["wa_id"] == phone.lstrip("+")]


@pytest.mark.parametrize(
    ("content", "name", "kind", "type_"),
    [
        (PIXEL, "blue.png", "image/png", "image"),
        (JPEG, "blue.jpg", "image/jpeg", "image"),
        (MP4, "blue.mp4", "video/mp4", "video"),
        (b"%PDF-1.7", "offer.pdf", "application/pdf", "document"),
        (b"PK\x03\x04", "offer.docx", WORD, "document"),
        (b"PK\x03\x04", "list.xlsx", "application/octet-stream", "document"),
        (b"27 EUR", "offer.txt", "text/plain; charset=utf-8", "document"),
    ],
)
async def test_a_file_goes_out_and_is_seen_by_both(
    stack: Stack, content: bytes, name: str, kind: str, type_: str
) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row, content, name, kind)).json()

    sent = await answer(stack, row, text="This one", media_id=media["id"])
    assert sent.status_code == 202, sent.text
    await stack.settle()

    (seen,) = await shown(stack)
    assert (seen["type"], seen["text"]) == (type_, "This one")
    assert (seen["media"]["id"], seen["media"]["bytes"]) == (media["provider_id"], len(content))
    assert seen["media"]["filename"] == (name if type_ == "document" else None)
    line = (await thread(stack, row))["items"][0]
    assert (line["words"], line["author"], line["status"] in ("sent", "delivered", "read")) == (
        "This one",
        "Marketer",
        True,
    )
    assert (line["file"]["status"], line["file"]["filename"], line["file"]["bytes"]) == ("stored", name, len(content))
    file = await stack.client.get(f"/api/conversations/{row['id']}/messages/{line['id']}/file")
    assert (file.status_code, file.content) == (200, content)
    assert file.headers["content-disposition"].startswith("attachment")
    (row,) = await inbox(stack)
    assert (row["unread"], row["assignee"]) == (0, "Marketer")


async def test_a_picture_needs_no_words_and_the_same_key_sends_it_once(stack: Stack) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row)).json()

    for _ in range(3):
        address, key = f"/api/conversations/{row['id']}/reply", {"idempotency-key": "one"}
        assert (await stack.client.post(address, json={"media_id": media["id"]}, headers=key)).status_code == 202
    await stack.settle()

    (seen,) = await shown(stack)
    assert (seen["type"], seen["text"]) == ("image", None)
    assert (await thread(stack, row))["items"][0]["words"] is None


REFUSED = [
    (b"GIF89a", "a.gif", "image/gif", "image/gif cannot be sent"),
    (b"RIFF\x00\x00\x00\x00WEBP", "a.png", "image/png", "its content is something else"),
    (b"%PDF-1.7", "a.jpg", "image/jpeg", "its content is something else"),
    (b"abcdefghij", "a.mp4", "video/mp4", "its content is something else"),
    (PIXEL + b"x" * (5 << 20), "a.png", "image/png", "1 byte to 5 MB"),
    (b"", "a.pdf", "application/pdf", "1 byte to 100 MB"),
]


@pytest.mark.parametrize(("content", "name", "kind", "words"), REFUSED)
async def test_what_cannot_be_sent_is_refused_before_the_provider_has_it(
    stack: Stack, content: bytes, name: str, kind: str, words: str
) -> None:
    row = await a_conversation(stack)

    refused = await upload(stack, row, content, name, kind)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "file")
    assert words in refused.json()["detail"]
    assert not stack.sandbox.store.media
    assert not [path for path in (stack.settings.data_dir / "media").rglob("*") if path.is_file()]


async def test_answers_with_a_file_that_cannot_go_say_why(stack: Stack) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row)).json()

    assert (await answer(stack, row)).status_code == 422  # neither words nor a file
    assert (await answer(stack, row, media_id="blue.png")).status_code == 400
    unknown = await answer(stack, row, media_id="01981f00-0000-7000-8000-000000000000")
    assert unknown.status_code == 404
    long = await answer(stack, row, media_id=media["id"], text="x" * 1025)
    assert (long.status_code, long.json()["errors"][0]["field"]) == (422, "text")
    async with stack.sessions.begin() as session:
        await session.execute(text("UPDATE media SET expires_at = now() + interval '1 hour'"))
    old = await answer(stack, row, media_id=media["id"])
    assert old.status_code == 422 and "upload it again" in old.json()["detail"]
    analyst = await stack.sign_in(Role.ANALYST)
    assert (await answer(stack, row, analyst, media_id=media["id"])).status_code == 403
    await age(stack, 24)
    late = await answer(stack, row, media_id=media["id"])
    assert (late.status_code, late.json()["reason"]) == (409, "window_closed")
    await stack.settle()
    assert await shown(stack) == []


async def test_a_file_of_another_number_is_refused(stack: Stack) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row)).json()
    async with stack.sessions.begin() as session:
        (ours,) = await session.scalars(select(Sender))
        other = Sender(name="Other", waba_id=ours.waba_id, phone_number_id="99", display_number="15550009999")
        session.add(other)
        await session.flush()
        await session.execute(update(Media).values(sender_id=other.id))

    refused = await answer(stack, row, media_id=media["id"])

    assert refused.status_code == 422 and "another number" in refused.json()["detail"]


async def test_who_said_stop_to_everything_gets_no_picture(stack: Stack) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row)).json()
    assert (await answer(stack, row, media_id=media["id"])).status_code == 202
    body = {"action": "opt_out", "purpose": "*", "contact_id": row["contact_id"], "source_record_id": "letter 5"}
    stopped = await stack.client.post("/api/consents", json={**body, "occurred_at": row["last_inbound_at"]})
    assert stopped.status_code == 201, stopped.text

    refused = await answer(stack, row, media_id=media["id"])
    await stack.settle()

    assert (refused.status_code, refused.json()["reason"]) == (409, "suppressed")
    assert await shown(stack) == []  # the one queued before the stop did not go either


async def test_erasure_takes_files_only_this_person_got_and_retention_the_rest(stack: Stack) -> None:
    row = await a_conversation(stack)
    await writes(stack, "Me too?", BEN)
    other = next(each for each in await inbox(stack) if each["id"] != row["id"])
    own, both = [(await upload(stack, row, name=name)).json() for name in ("Ana.png", "all.png")]
    for each, media in [(row, own), (row, both), (other, both)]:
        assert (await answer(stack, each, media_id=media["id"])).status_code == 202
    await stack.settle()
    async with stack.sessions() as session:
        paths = {media.filename: Path(str(media.path)) for media in await session.scalars(select(Media))}
    officer = await stack.sign_in(Role.COMPLIANCE)

    address, asked = f"/api/contacts/{row['contact_id']}", {"reason": "asked by letter", "dry_run": "false"}
    erased = await officer.request("DELETE", address, params=asked)

    assert erased.status_code == 200, erased.text
    assert not paths["Ana.png"].exists() and paths["all.png"].exists()
    async with stack.sessions() as session:
        kept = {(media.filename, media.path is None) for media in await session.scalars(select(Media))}
    assert kept == {("", True), ("all.png", False)}

    async with stack.sessions.begin() as session:
        now = utc_now()
        assert "answered_files" not in await retention.purge(session, settings=stack.settings, now=now)
        later = now + timedelta(days=stack.settings.keep_media_days + 1)
        done = await retention.purge(session, settings=stack.settings, now=later)
    assert done["answered_files"] == 1 and not await asyncio.to_thread(paths["all.png"].exists)
    (line, *_) = (await thread(stack, other))["items"]
    assert line["file"]["status"] == "removed"
    gone = await stack.client.get(f"/api/conversations/{other['id']}/messages/{line['id']}/file")
    assert gone.status_code == 409 and "upload it again" in gone.json()["detail"]


async def test_a_picture_a_campaign_shows_outlives_who_got_it_as_an_answer(stack: Stack) -> None:
    row = await a_conversation(stack)
    media = (await upload(stack, row)).json()
    assert (await answer(stack, row, media_id=media["id"])).status_code == 202
    await stack.settle()
    sender = (await stack.client.get("/api/senders")).json()["items"][0]
    await a_campaign(stack, sender, await a_template(stack, sender), await an_audience(stack))
    later = utc_now() + timedelta(days=stack.settings.keep_media_days + 1)

    async with stack.sessions.begin() as session:
        kept = {"header.0": {"media_id": media["id"]}}
        await session.execute(update(CampaignVariant).values(parameters=kept))
        assert "answered_files" not in await retention.purge(session, settings=stack.settings, now=later)
        await session.execute(update(CampaignVariant).values(parameters={}))
        assert (await retention.purge(session, settings=stack.settings, now=later))["answered_files"] == 1
