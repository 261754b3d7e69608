"""Tokens, versions, numbers, media and uploads."""

import hashlib
import hmac
from typing import Any

import pytest

from tests.sandbox.conftest import APP, NUMBER, WABA, Simulator

IMAGE = b"\xff\xd8\xff" + bytes(range(256)) + b"\r\n--not-a-boundary\r\n"


async def error_of(simulator: Simulator, path: str, **kwargs: Any) -> tuple[int, int, int | None]:
    answer = await simulator.client.get(path, **kwargs)
    error = answer.json()["error"]
    assert error["fbtrace_id"]
    return answer.status_code, error["code"], error.get("error_subcode")


@pytest.mark.parametrize("version", [f"v{major}.0" for major in range(21, 27)])
async def test_supported_versions_answer(simulator: Simulator, version: str) -> None:
    assert (await simulator.client.get(f"/{version}/{NUMBER}")).status_code == 200


@pytest.mark.parametrize("path", [f"/v20.0/{NUMBER}", f"/v27.0/{NUMBER}", f"/{NUMBER}", "/", "/v26.0", "/v1/messages"])
async def test_unknown_versions_and_paths_are_graph_errors(simulator: Simulator, path: str) -> None:
    assert await error_of(simulator, path) == (400, 2500, None)


async def test_unknown_objects_and_methods_are_graph_errors(simulator: Simulator) -> None:
    assert await error_of(simulator, "/v26.0/123") == (400, 100, 33)
    assert await error_of(simulator, f"/v26.0/{NUMBER}/messages") == (400, 100, 33)
    posted = await simulator.post("123/messages", {})
    assert (posted.status_code, posted.json()["error"]["error_subcode"]) == (400, 33)


async def test_tokens_are_checked(simulator: Simulator) -> None:
    path = f"/v26.0/{NUMBER}"
    assert await error_of(simulator, path, headers={"Authorization": "Bearer nonsense"}) == (401, 190, None)
    assert await error_of(simulator, path, headers={"Authorization": ""}) == (401, 190, None)
    assert await error_of(simulator, path, headers={"Authorization": f"Bearer {APP}|test_app_secret"}) == (
        401,
        190,
        None,
    )

    by_query = await simulator.client.get(
        path, params={"access_token": "EAAsandboxtoken"}, headers={"Authorization": ""}
    )
    assert by_query.status_code == 401  # an empty header is a wrong header
    del simulator.client.headers["Authorization"]
    by_query = await simulator.client.get(path, params={"access_token": "EAAsandboxtoken"})
    assert by_query.status_code == 200


async def test_a_token_expires_at_its_instant(simulated: Any) -> None:
    async with simulated(token_expires_at=4_000_000_000.0) as simulator:
        before = await simulator.client.get(f"/v26.0/{NUMBER}")
        await simulator.steer("POST", "clock", {"advance_s": 4_000_000_000.0})

        assert before.status_code == 200
        assert await error_of(simulator, f"/v26.0/{NUMBER}") == (401, 190, 463)
        debug = await simulator.client.get(
            "/v26.0/debug_token",
            params={"input_token": "EAAsandboxtoken"},
            headers={"Authorization": f"Bearer {APP}|test_app_secret"},
        )
        assert debug.json()["error"]["code"] == 190


async def test_debug_token_tells_about_a_token(simulator: Simulator) -> None:
    app_token = {"Authorization": f"Bearer {APP}|test_app_secret"}

    async def debug(token: str) -> Any:
        answer = await simulator.client.get(f"/v26.0/debug_token?input_token={token}", headers=app_token)
        return answer.json()["data"]

    right, wrong = await debug("EAAsandboxtoken"), await debug("nonsense")
    assert (right["is_valid"], right["app_id"], right["expires_at"]) == (True, APP, 0)
    assert right["granular_scopes"][0]["target_ids"] == [WABA]
    assert (wrong["is_valid"], wrong["scopes"], wrong["error"]["code"]) == (False, [], 190)


async def test_the_app_secret_proof_is_checked_when_given_or_required(simulated: Any) -> None:
    proof = hmac.new(b"test_app_secret", b"EAAsandboxtoken", hashlib.sha256).hexdigest()
    path = f"/v26.0/{NUMBER}"
    async with simulated() as simulator:
        assert await error_of(simulator, f"{path}?appsecret_proof=00") == (400, 100, None)
        assert (await simulator.client.get(f"{path}?appsecret_proof={proof}")).status_code == 200
    async with simulated(require_appsecret_proof=True) as simulator:
        assert await error_of(simulator, path) == (400, 100, None)
        assert (await simulator.client.get(f"{path}?appsecret_proof={proof}")).status_code == 200


async def test_numbers_show_the_fields_asked_for(simulator: Simulator) -> None:
    listed = (await simulator.client.get(f"/v26.0/{WABA}/phone_numbers")).json()["data"]
    fields = (await simulator.client.get(f"/v26.0/{NUMBER}?fields=throughput,quality_rating")).json()

    assert [(item["id"], item["display_phone_number"]) for item in listed] == [(NUMBER, "15550001111")]
    assert fields == {"throughput": {"level": "STANDARD"}, "quality_rating": "GREEN", "id": NUMBER}
    assert await error_of(simulator, f"/v26.0/{NUMBER}?fields=smell") == (400, 100, None)


async def upload(simulator: Simulator, content: bytes = IMAGE, mime: str = "image/jpeg", **fields: str) -> Any:
    form = {"messaging_product": "whatsapp", "type": mime} | fields
    return await simulator.client.post(f"/v26.0/{NUMBER}/media", data=form, files={"file": ("pot.jpg", content, mime)})


async def test_media_come_back_as_they_were_for_five_minutes(simulator: Simulator) -> None:
    media_id = (await upload(simulator)).json()["id"]
    described = (await simulator.client.get(f"/v26.0/{media_id}?phone_number_id={NUMBER}")).json()
    loaded = await simulator.client.get(described["url"])
    anonymous = await simulator.client.get(described["url"], headers={"Authorization": "Bearer nobody"})
    forged = await simulator.client.get(described["url"].replace("hash=", "hash=0"))
    await simulator.steer("POST", "clock", {"advance_s": 301})
    late = await simulator.client.get(described["url"])

    assert (loaded.status_code, loaded.content, loaded.headers["content-type"]) == (200, IMAGE, "image/jpeg")
    assert (described["sha256"], described["file_size"]) == (hashlib.sha256(IMAGE).hexdigest(), str(len(IMAGE)))
    assert (anonymous.status_code, forged.status_code, late.status_code) == (401, 404, 404)
    again = (await simulator.client.get(f"/v26.0/{media_id}")).json()
    assert (await simulator.client.get(again["url"])).content == IMAGE


async def test_media_can_be_sent_until_deleted_or_too_old(simulator: Simulator) -> None:
    media_id = (await upload(simulator)).json()["id"]
    await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})

    async def send(kind: str) -> int:
        body = {"messaging_product": "whatsapp", "to": "+4915112345678", "type": kind, kind: {"id": media_id}}
        return int((await simulator.post(f"{NUMBER}/messages", body)).json().get("error", {}).get("code", 0))

    assert await send("image") == 0
    assert await send("document") == 131009
    assert (await simulator.client.delete(f"/v26.0/{media_id}")).json() == {"success": True}
    assert await send("image") == 131009
    assert await error_of(simulator, f"/v26.0/{media_id}") == (400, 100, 33)


async def test_wrong_media_are_refused(simulator: Simulator) -> None:
    refused = [
        await upload(simulator, mime="image/gif"),
        await upload(simulator, b""),
        await upload(simulator, b"x" * (500 * 1024 + 1), mime="image/webp"),
        await upload(simulator, messaging_product="sms"),
        await simulator.post(f"{NUMBER}/media", {}),
    ]

    assert [answer.json()["error"]["code"] for answer in refused] == [100, 131053, 131053, 100, 100]


async def test_a_broken_link_fails_by_webhook(simulator: Simulator) -> None:
    await simulator.steer("POST", "inbound", {"phone": "+4915112345678", "kind": "text", "text": "Hi"})
    body = {
        "messaging_product": "whatsapp",
        "to": "+4915112345678",
        "type": "image",
        "image": {"link": "https://cdn.test/broken.jpg"},
    }

    answer = await simulator.post(f"{NUMBER}/messages", body)
    await simulator.settle()

    assert answer.status_code == 200
    assert (await simulator.inspect("summary"))["failures_by_code"] == {"131053": 1}


async def test_an_interrupted_upload_goes_on_where_it_stopped(simulator: Simulator) -> None:
    query = {"file_name": "a.jpg", "file_length": str(len(IMAGE)), "file_type": "image/jpeg"}
    started = (await simulator.client.post(f"/v26.0/{APP}/uploads", params=query)).json()["id"]
    path = f"/v26.0/{started}"

    def at(offset: int) -> dict[str, str]:
        return {"Authorization": "OAuth EAAsandboxtoken", "file_offset": str(offset)}

    first = (await simulator.client.post(path, content=IMAGE[:100], headers=at(0))).json()
    wrong = await simulator.client.post(path, content=IMAGE[:100], headers=at(0))
    offset = (await simulator.client.get(path, headers=at(0))).json()["file_offset"]
    handle = (await simulator.client.post(path, content=IMAGE[offset:], headers=at(offset))).json()["h"]
    forged = await simulator.client.get(path.replace("sig=", "sig=0"))

    assert (first["file_offset"], offset, wrong.status_code, forged.status_code) == (100, 100, 400, 400)
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle]}}
    await simulator.template(name="pictured", components=[header, {"type": "BODY", "text": "New pots are here."}])


async def test_the_log_pages_by_sequence(simulator: Simulator) -> None:
    for number in range(5):
        await simulator.send(f"+49151123456{number:02}")

    first = await simulator.inspect("messages?limit=2")
    rest = await simulator.inspect(f"messages?limit=100&after={first['next']}")

    assert [item["sequence"] for item in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert (first["next"], rest["next"]) == (1, None)
    assert len(first["items"][0]["accepted_at"]) == len("2026-11-22T09:45:45.026375Z")


@pytest.mark.parametrize(("keep", "left"), [(True, ["spring_sale"]), (False, [])])
async def test_a_reset_forgets(simulator: Simulator, keep: bool, left: list[str]) -> None:
    wamid = (await simulator.send()).json()["messages"][0]["id"]
    await simulator.settle()

    await simulator.steer("POST", "reset", {"keep_templates": keep})

    assert (await simulator.inspect("summary"))["accepted"] == 0
    assert [template["name"] for template in await simulator.inspect("templates")] == left
    if not keep:
        await simulator.template()
    simulator.receiver.posts.clear()
    again = (await simulator.send()).json()["messages"][0]["id"]
    await simulator.settle()
    assert again != wamid
    assert {status["id"] for status in simulator.receiver.values("statuses")} == {again}


async def test_the_inspection_api_describes_itself(simulator: Simulator) -> None:
    paths = (await simulator.client.get("/_sandbox/docs/openapi.json")).json()["paths"]

    assert {"/_sandbox/messages", "/_sandbox/people/{phone}", "/_sandbox/faults"} <= set(paths)
    assert (await simulator.client.get("/_sandbox/nothing")).status_code == 404
    assert (await simulator.client.put("/_sandbox/people/x", json={"colour": "red"})).status_code == 400
