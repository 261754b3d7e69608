"""Users, keys and numbers, as an administrator sets them up over the API."""

import asyncio
from typing import Any

import httpx
from sqlalchemy import text

from core.statuses import Role
from tests.factories import NUMBER
from tests.integration.stack import PASSWORD, Stack


async def user(admin: httpx.AsyncClient, email: str, **changes: Any) -> dict[str, Any]:
    body = {"email": email, "name": "Somebody", "role": "marketer", "password": PASSWORD, **changes}
    answer = await admin.post("/api/users", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def signs_in(stack: Stack, email: str, password: str = PASSWORD) -> httpx.AsyncClient | None:
    client = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)
    answer = await client.post("/api/session", json={"email": email, "password": password})
    if answer.status_code != 201:
        return None
    client.headers["authorization"] = f"Bearer {answer.json()['token']}"
    return client


async def test_a_user_is_made_changed_and_disabled_and_each_act_is_on_record(stack: Stack) -> None:
    admin = await stack.sign_in(Role.ADMIN)
    made = await user(admin, "Mina@Example.org")
    assert (made["email"], made["disabled_at"], "password" in str(made)) == ("mina@example.org", None, False)
    mina = await signs_in(stack, "mina@example.org")
    assert mina is not None and (await mina.get("/api/ledger")).status_code == 403
    address = f"/api/users/{made['id']}"

    assert (await admin.patch(address, json={"role": "auditor"})).json()["role"] == "auditor"
    assert (await mina.get("/api/ledger")).status_code == 200  # counts at once
    assert (await admin.patch(address, json={"password": "another fine password"})).status_code == 200
    assert (await mina.get("/api/session")).status_code == 401
    assert await signs_in(stack, "mina@example.org") is None
    again = await signs_in(stack, "mina@example.org", "another fine password")
    assert again is not None
    assert (await admin.patch(address, json={"disabled": True})).json()["disabled_at"]
    assert (await again.get("/api/session")).status_code == 401
    assert (await admin.patch(address, json={"disabled": False})).json()["disabled_at"] is None

    async with stack.sessions() as session:
        log = await session.execute(
            text("SELECT action FROM audit_log WHERE object_id = :id AND action LIKE 'user.%' ORDER BY id"),
            {"id": made["id"]},
        )
        acts = [row.action for row in log]
    assert acts == ["user.added", "user.role_changed", "user.password_set", "user.disabled", "user.enabled"]
    twice = await admin.post(
        "/api/users", json={"email": "MINA@example.org", "name": "X", "role": "admin", "password": PASSWORD}
    )
    assert twice.status_code == 409
    short = await admin.post("/api/users", json={"email": "a@b.co", "name": "X", "role": "admin", "password": "short"})
    assert short.status_code == 400 and "10 characters" in short.text
    wrong = await admin.post(
        "/api/users", json={"email": "no mail", "name": "X", "role": "admin", "password": PASSWORD}
    )
    assert wrong.status_code == 422


async def test_one_administrator_always_stays_even_when_two_demote_each_other(stack: Stack) -> None:
    admin = await stack.sign_in(Role.ADMIN)
    ((first,)) = [each for each in (await admin.get("/api/users")).json()["items"] if each["role"] == "admin"]
    alone = await admin.patch(f"/api/users/{first['id']}", json={"role": "analyst"})
    assert (alone.status_code, "only administrator" in alone.json()["detail"]) == (409, True)
    assert (await admin.patch(f"/api/users/{first['id']}", json={"disabled": True})).status_code == 409
    second = await user(admin, "second@example.org", role="admin")

    answers = await asyncio.gather(
        *(admin.patch(f"/api/users/{each['id']}", json={"role": "analyst"}) for each in (first, second))
    )

    assert 409 in [answer.status_code for answer in answers] or 403 in [answer.status_code for answer in answers]
    async with stack.sessions() as session:
        assert (await session.execute(text("SELECT count(*) FROM users WHERE role = 'admin'"))).scalar_one() == 1


async def test_a_key_is_shown_once_acts_with_its_role_and_is_revoked(stack: Stack) -> None:
    admin = await stack.sign_in(Role.ADMIN)
    made = (await admin.post("/api/keys", json={"name": "Shop", "role": "analyst"})).json()
    program = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)
    program.headers["authorization"] = f"Bearer {made['secret']}"
    assert (await program.get("/api/metrics")).status_code != 401
    assert (await program.get("/api/conversations")).status_code == 403

    listed = (await admin.get("/api/keys")).text
    assert made["prefix"] in listed and made["secret"] not in listed
    for _ in range(2):
        revoked = await admin.post(f"/api/keys/{made['id']}/revoke")
        assert revoked.json()["revoked_at"] is not None

    assert (await program.get("/api/metrics")).status_code == 401


async def test_a_number_is_registered_as_the_provider_knows_it(stack: Stack) -> None:
    body = {"phone_number_id": NUMBER["phone_number_id"], "waba_id": NUMBER["waba_id"], "name": "Shop"}

    made = (await stack.client.post("/api/senders", json=body)).json()

    assert (made["display_number"], made["verified_name"]) == ("+15550001111", "Demo Store")
    assert (made["quality"], made["limit_tier"], made["messages_per_second"]) == ("GREEN", "TIER_100K", 80)


async def test_a_number_the_provider_does_not_know_is_refused_with_what_to_do(stack: Stack) -> None:
    cases = [
        ({"phone_number_id": "999"}, "knows no number with the id 999"),
        ({"waba_id": "888"}, "knows no account with the id 888"),
        ({"display_number": "+49 30 1234567"}, "this id belongs to 15550001111"),
    ]
    for changes, words in cases:
        answer = await stack.client.post("/api/senders", json={**NUMBER, **changes})
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]
    assert (await stack.client.get("/api/senders")).json()["items"] == []
