"""Columns of a file that are typed attributes: kept in their kind, left out with the reason if they do not fit."""

from typing import Any

from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack

ANA, BOB, EVE = "+491701234500", "+491701234501", "+491701234502"


async def kinds(stack: Stack) -> None:
    typed: dict[str, dict[str, Any]] = {
        "age": {"kind": "number"},
        "birthday": {"kind": "date"},
        "vip": {"kind": "boolean"},
        "size": {"kind": "choice", "choices": ["S", "M"]},
    }
    for name, body in typed.items():
        answer = await stack.client.put(f"/api/attributes/{name}", json=body)
        assert answer.status_code == 200, answer.text


async def attributes(stack: Stack, phone: str) -> dict[str, Any]:
    (person,) = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"]
    profile = (await stack.client.get(f"/api/contacts/{person['id']}/profile")).json()
    found: dict[str, Any] = profile["contact"]["attributes"] if "contact" in profile else profile["attributes"]
    return found


async def test_values_are_kept_in_their_kind_and_what_does_not_fit_costs_the_value_not_the_row(stack: Stack) -> None:
    await kinds(stack)
    good = consenting(ANA, age="41", birthday="1985-02-03", vip="ja", size="m", city="Ulm")
    bad = consenting(BOB, age="forty", birthday="03.02.1985", vip="yes", size="XXL", city="Bonn", source_record_id="b")
    plain = {"phone": EVE, "name": "Eve", "age": "none of your business", "vip": "no"}

    done = await an_import(stack, csv_of([good, bad, plain]))

    assert done["verdicts"] == {"accepted": 2, "contact_only": 1}
    assert done["notes"] == {"value_left_out": 2}
    assert await attributes(stack, ANA) == {
        "age": 41,
        "birthday": "1985-02-03",
        "vip": True,
        "size": "M",
        "city": "Ulm",
    }
    assert await attributes(stack, BOB) == {"vip": True, "city": "Bonn"}
    assert await attributes(stack, EVE) == {"vip": False}
    rows = (await stack.client.get(f"/api/imports/{done['id']}/rows", params={"verdict": "accepted"})).json()["items"]
    reasons = {row["row_number"]: row["reason"] for row in rows}
    assert reasons[2] is None
    assert reasons[3] == (
        "left out: age must be a number such as 12 or 12.5; birthday must be a date such as 2026-10-01;"
        " size must be one of S, M"
    )
    assert "forty" not in str(rows)


async def test_a_bad_value_never_replaces_a_good_one_and_a_better_one_does(stack: Stack) -> None:
    await kinds(stack)
    await an_import(stack, csv_of([consenting(ANA, age="41")]))

    await an_import(stack, csv_of([{"phone": ANA, "age": "old"}]), merge="overwrite")
    assert (await attributes(stack, ANA))["age"] == 41
    await an_import(stack, csv_of([{"phone": ANA, "age": "42.5"}]), merge="overwrite")

    assert (await attributes(stack, ANA))["age"] == 42.5


async def test_an_opt_out_counts_whatever_else_its_row_holds(stack: Stack) -> None:
    await kinds(stack)

    done = await an_import(stack, csv_of([{"phone": ANA, "action": "opt_out", "age": "x"}]))

    assert done["verdicts"] == {"opt_out_applied": 1}
    compliance = await stack.sign_in(Role.COMPLIANCE)
    (person,) = (await compliance.get("/api/contacts", params={"phone": ANA})).json()["items"]
    states = (await compliance.get(f"/api/contacts/{person['id']}/consents")).json()["states"]
    assert {row["state"] for row in states} == {"withdrawn"}
