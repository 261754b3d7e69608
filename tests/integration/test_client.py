"""The client tells a request that never left from one whose answer was lost; over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from core.clock import utc_now
from core.consent import gate
from core.consent.gate import SendPermit, SendRequest
from core.errors import RuleViolation
from core.statuses import DeliveryStatus, MessageKind
from core.whatsapp.client import WhatsAppClient
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CONTENT = {"type": "text", "text": {"body": "hello"}}


@asynccontextmanager
async def a_server(handler: Handler) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return await reader.readexactly(length)


def answering(status: str, body: bytes, *headers: str) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return handler


async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    transport = writer.transport
    transport.abort()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    await asyncio.sleep(3)


@asynccontextmanager
async def a_permit(stack: Stack) -> AsyncIterator[SendPermit]:
    await an_import(stack, csv_of([consenting("+4917012345678")]))
    contact = (await stack.client.get("/api/contacts", params={"phone": "+4917012345678"})).json()["items"][0]
    request = SendRequest(
        message_id=uuid4(), contact_id=contact["id"], purpose="marketing", kind=MessageKind.TEST, phone_number_id="1"
    )
    async with gate.permits(stack.sessions, [request], keyring=stack.parts.keyring) as (permits, _):
        yield permits[0]


async def outcome_of(stack: Stack, url: str) -> object:
    client = WhatsAppClient.connect(url, "token", version="v26.0", timeout_s=0.5)
    async with a_permit(stack) as permit:
        outcome = await client.send(permit, "200000000000002", CONTENT)
    await client.aclose()
    return outcome


@pytest.mark.parametrize(
    ("handler", "status", "code"),
    [
        (answering("200 OK", b'{"messages":[{"id":"wamid.1"}],"contacts":[]}'), DeliveryStatus.ACCEPTED, None),
        (
            answering("200 OK", b'{"messages":[{"id":"wamid.1","message_status":"held_for_quality_assessment"}]}'),
            DeliveryStatus.HELD,
            None,
        ),
        (answering("200 OK", b"<html>"), DeliveryStatus.UNKNOWN, None),
        (answering("502 Bad Gateway", b"<html>"), DeliveryStatus.UNKNOWN, None),
        (answering("500 Internal", b'{"error":{"code":131000,"message":"x"}}'), DeliveryStatus.QUEUED, 131000),
        (answering("429 Too Many", b'{"error":{"code":130429}}', "retry-after: 7"), DeliveryStatus.QUEUED, 130429),
        (answering("400 Bad", b'{"error":{"code":132000,"message":"count"}}'), DeliveryStatus.FAILED, 132000),
        (answering("400 Bad", b'{"error":{"code":999999}}'), DeliveryStatus.FAILED, 999999),
        (hanging_up, DeliveryStatus.UNKNOWN, None),
        (silent, DeliveryStatus.UNKNOWN, None),
    ],
)
async def test_every_answer_and_every_silence_has_its_outcome(
    stack: Stack, handler: Handler, status: DeliveryStatus, code: int | None
) -> None:
    async with a_server(handler) as url:
        outcome = await outcome_of(stack, url)

    assert (outcome.status, outcome.error.code if outcome.error else None) == (status, code)  # type: ignore[attr-defined]


async def test_a_refused_connection_and_an_unknown_host_never_left(stack: Stack) -> None:
    for url in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        outcome = await outcome_of(stack, url)
        assert outcome.status is DeliveryStatus.QUEUED  # type: ignore[attr-defined]


async def test_without_a_permit_of_the_gate_there_is_no_way_to_send(stack: Stack) -> None:
    with pytest.raises(TypeError, match="gate"):
        SendPermit(uuid4(), uuid4(), "marketing", "+4917012345678", 1, 1, utc_now(), object(), object())  # type: ignore[arg-type]
    async with a_permit(stack) as permit:
        pass
    with pytest.raises(gate.PermitExpired):
        await stack.parts.whatsapp.send(permit, "200000000000002", CONTENT)
    assert stack.sandbox.store.messages == []


async def test_a_media_header_without_an_app_id_says_what_to_set(stack: Stack) -> None:
    client = WhatsAppClient.connect("http://127.0.0.1:9", "token", version="v26.0")

    with pytest.raises(RuleViolation, match="KAIRAN_WHATSAPP_APP_ID"):
        await client.upload_sample(stack.settings.data_dir / "x.png", "image/png")

    await client.aclose()
