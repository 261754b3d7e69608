"""Erasure: nothing that names the person is left anywhere, the ledger still verifies, and the number stays refused."""

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import text

from core.consent import verify
from core.services import erasure
from core.statuses import Role
from core.traces import Traces
from tests.factories import (
    a_campaign,
    a_sender,
    a_template,
    an_audience,
    an_import,
    consenting,
    csv_of,
    launched,
)
from tests.integration.stack import Stack
from tests.integration.test_api_logs import logged
from tests.integration.test_webhooks import body, change, deliver, said
from worker import keeping

__all__ = ["logged"]

PHONE, NAME, USER_ID = "+4915123456789", "Zebedee Quirkwood", "DE.1357913579135"
OTHER = "+4915199999999"
WHY = {"reason": "asked by letter"}


async def contact_of(stack: Stack, phone: str) -> dict[str, Any]:
    found = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"]
    person: dict[str, Any] = found[0]
    return person


async def a_life(stack: Stack) -> str:
    """One person who went through every part of the product; returns their id."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    rows = [
        consenting(PHONE, name=NAME, city="Quirkstadt"),
        consenting(OTHER, name="Bob", source_record_id="b"),
        {"phone": "0151 234 567 89", "name": "Q", "action": "maybe"},
        {"phone": "nonsense", "name": NAME},
        {"phone": "+4915177777777", "name": "Eve"},
    ]
    static = await an_import(stack, csv_of(rows), audience_name="Regulars")
    assert static["verdicts"] == {"accepted": 2, "contact_only": 1, "rejected": 2}, static
    person = str((await contact_of(stack, PHONE))["id"])
    await an_import(stack, csv_of([{"phone": PHONE, "street": "Quirkstadt Road 1"}]))
    compliance = await stack.sign_in(Role.COMPLIANCE)
    consent = {
        "action": "opt_in",
        "source_record_id": "phone-call-1",
        "occurred_at": "2026-05-02T10:00:00Z",
        "phone": "+49 (0)151 23456789",
        "method": "call",
        "collection_point": "hotline",
        "evidence": {"recording": f"{NAME} on +49 151/23456789"},
    }
    answer = await compliance.post("/api/consents", json=consent, headers={"idempotency-key": "call"})
    assert answer.status_code == 201, answer.text
    await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()
    contact = {"profile": {"name": NAME}, "wa_id": PHONE[1:], "user_id": USER_ID}
    inbound = {**said(f"I am {NAME}, call me", PHONE), "from_user_id": USER_ID}
    await deliver(stack, body(change(contacts=[contact], messages=[inbound])))
    await deliver(stack, body(change(statuses=[_stray_status()])))
    await stack.settle()
    async with stack.sessions() as session:
        query = "SELECT code FROM links l JOIN messages m ON m.id = l.message_id WHERE m.contact_id = :id"
        code = (await session.execute(text(query), {"id": person})).scalar_one()
    await stack.client.get(f"/r/{code}", headers={"user-agent": "Mozilla/5.0"})
    sale = {"kind": "order", "order_id": "o-1", "occurred_at": "2026-11-20T10:00:00Z", "phone": PHONE}
    await stack.client.post("/api/conversions", json={"items": [{**sale, "amount_micros": 5, "currency": "USD"}]})
    await compliance.post("/api/audits", json={"reason": f"complaint of {PHONE}"})
    request = {"contact_id": person, "kind": "erasure", "received_at": "2026-11-20T10:00:00Z", "channel": "letter"}
    filed = await compliance.post("/api/data-requests", json={**request, "note": f"{NAME} wrote"})
    assert filed.status_code == 201, filed.text
    await stack.work()
    return person


def _stray_status() -> dict[str, Any]:
    """About a message of theirs that is not ours."""
    opaque = base64.b64encode(f"\x1c\x18\r{PHONE[1:]}\x15".encode()).decode()  # the provider's ids hold the number
    return {"id": f"wamid.{opaque}", "status": "delivered", "timestamp": "1793500000", "recipient_id": PHONE[1:]}


async def finds(stack: Stack, traces: Traces) -> list[str]:
    """Every table and every file (but the keys) in which the person is named."""
    found = []
    async with stack.sessions() as session:
        columns = await session.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'jsonb', 'character varying')"
            )
        )
        for table, column, kind in columns.all():
            read = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
            for (value,) in await session.execute(text(f"SELECT {read} FROM {table} WHERE {column} IS NOT NULL")):
                if traces.within(value):
                    found.append(f"{table}.{column}: {value[:80]}")
    return found + [
        f"{path}: {place}"
        for path in stack.settings.data_dir.rglob("*")
        if path.is_file() and "keys" not in path.parts
        for place in file_finds(path, traces)
    ]


def file_finds(path: Path, traces: Traces) -> list[str]:
    if path.suffix == ".parquet":
        return [path.name] if traces.within(pl.read_parquet(path).cast(pl.String, strict=False).write_csv()) else []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if traces.within(archive.read(name).decode("latin-1"))]
    return [path.name] if traces.within(path.read_bytes().decode("latin-1")) else []


async def test_nothing_that_names_an_erased_person_is_left_and_the_ledger_still_verifies(
    stack: Stack, logged: io.StringIO
) -> None:
    person = await a_life(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    named = Traces.of(numbers=[PHONE], words=[NAME, USER_ID, "Quirkstadt"])
    before = await finds(stack, named)
    places = {line.split(":")[0].split(".")[0] for line in before}
    expected = {"contacts", "contact_addresses", "consent_evidence", "messages", "webhook_events", "inbound_messages"}
    expected |= {"import_rows", "import_changes", "parked_statuses", "data_requests", "campaigns"}
    assert expected <= places, expected - places
    assert any(".zip" in line for line in before) and any(".upload" in line for line in before)
    assert not any(line.startswith(("audit_log", "exports", "consent_events", "idempotency")) for line in before)

    (request,) = (await compliance.get("/api/data-requests", params={"status": "open"})).json()["items"]
    erasing = {**WHY, "request_id": request["id"]}
    unproven = await compliance.delete(f"/api/contacts/{person}", params=erasing)
    await compliance.post(f"/api/data-requests/{request['id']}/proof", json={"identity_proof": "code sent back"})
    rehearsal = (await compliance.delete(f"/api/contacts/{person}", params={**WHY, "dry_run": True})).json()
    untouched = await finds(stack, named)
    answer = await compliance.delete(f"/api/contacts/{person}", params=erasing)

    assert unproven.status_code == 422 and "proved" in unproven.json()["detail"]
    assert untouched == before
    assert answer.status_code == 200, answer.text
    certificate = answer.json()
    assert (certificate["erased"], certificate["kept"]) == (rehearsal["erased"], rehearsal["kept"])
    assert certificate["erased"]["message_texts"] == 1 and certificate["erased"]["export_files"] == 1
    assert await finds(stack, named) == []
    log = logged.getvalue()
    assert log and not named.within(log)
    async with stack.sessions.begin() as session:
        assert await erasure.scrub_late(session) == 0, "nothing came late"
    done = (await compliance.get(f"/api/data-requests/{request['id']}")).json()
    assert (done["status"], done["facts"]["seq"]) == ("done", certificate["seq"])
    assert done["facts"]["leaf_hash"] == certificate["leaf_hash"]

    report = await a_package(stack, compliance)
    assert report.verdict == "PASS", list(report.lines())
    again = await compliance.delete(f"/api/contacts/{person}", params=WHY)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def a_package(stack: Stack, compliance: Any) -> verify.Report:
    made = (await compliance.post("/api/audits", json={"reason": "after erasure"})).json()
    await stack.work()
    package = stack.settings.data_dir / "exports" / f"audit-{made['id']}.zip"
    return verify.verify(package, stack.parts.keyring.fingerprint)


async def test_the_number_of_an_erased_person_stays_refused_in_every_form(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting("+5511987654321", source_record_id="br")]))
    person = (await contact_of(stack, "+5511987654321"))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.delete(f"/api/contacts/{person}", params=WHY)

    again = await an_import(stack, csv_of([consenting("+551187654321", source_record_id="new", confirmed_at="x")]))

    assert again["verdicts"] == {"refused_suppressed": 1}
    assert (await compliance.get("/api/contacts", params={"phone": "+5511987654321"})).json()["items"] == []


async def test_a_file_brings_nothing_of_an_erased_person_back_and_says_why(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PHONE, name=NAME)]))
    person = (await contact_of(stack, PHONE))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.delete(f"/api/contacts/{person}", params=WHY)
    rows = [
        consenting(PHONE, name=NAME, source_record_id="again", city="Quirkstadt"),
        {"phone": "0151 23456789", "name": NAME, "action": "opt_out"},
        {"phone": "+49 151 23456789", "name": NAME},
        consenting(OTHER, name="Bob"),
    ]

    checked = await an_import(stack, csv_of(rows), dry_run=True)
    done = await an_import(stack, csv_of(rows), audience_name="All")

    expected = {"opt_out_applied": 1, "refused_suppressed": 2, "accepted": 1}
    assert done["verdicts"] == checked["verdicts"] == expected
    refused = (
        await stack.client.get(f"/api/imports/{done['id']}/rows", params={"verdict": "refused_suppressed"})
    ).json()
    assert all("the person was erased" in row["reason"] for row in refused["items"])
    named = Traces.of(numbers=[PHONE], words=[NAME, "Quirkstadt"])
    left = [line for line in await finds(stack, named) if ".upload" not in line]
    assert left == []


async def test_an_erased_person_who_writes_again_is_somebody_new_and_imports_meet_that_person(stack: Stack) -> None:
    await a_sender(stack)
    await an_import(stack, csv_of([consenting(PHONE, name=NAME)]))
    person = (await contact_of(stack, PHONE))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.delete(f"/api/contacts/{person}", params=WHY)
    await deliver(stack, body(change(messages=[said("hello", PHONE)])))
    await stack.settle()

    done = await an_import(stack, csv_of([consenting(PHONE, name=NAME, source_record_id="again")]))

    assert done["verdicts"] == {"refused_suppressed": 1}
    back = await contact_of(stack, PHONE)
    assert (back["id"] != person, back["name"]) == (True, NAME)


async def test_recording_a_consent_makes_no_contact_of_an_erased_person(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PHONE, name=NAME)]))
    person = (await contact_of(stack, PHONE))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)
    done = (await compliance.delete(f"/api/contacts/{person}", params=WHY)).json()
    said_so = {"phone": "0151 23456789", "source_record_id": "new", "occurred_at": "2026-11-20T10:00:00Z"}
    evidence = {"method": "call", "collection_point": "hotline", "evidence": {"note": NAME}}

    refused = await compliance.post("/api/consents", json={**said_so, **evidence, "action": "opt_in"})
    stopped = await compliance.post("/api/consents", json={**said_so, "action": "opt_out"})

    assert refused.status_code == 409 and "only they can begin again" in refused.json()["detail"]
    answer = stopped.json()
    assert (stopped.status_code, answer["state"], answer["is_duplicate"]) == (201, "withdrawn", True)
    assert (answer["contact_id"], answer["seq"]) == (person, done["seq"])
    assert await finds(stack, Traces.of(numbers=[PHONE], words=[NAME])) == []


async def test_only_compliance_erases_and_only_with_a_reason(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PHONE)]))
    person = (await contact_of(stack, PHONE))["id"]

    refused = await stack.client.delete(f"/api/contacts/{person}", params=WHY)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    without = await compliance.delete(f"/api/contacts/{person}")

    assert (refused.status_code, without.status_code) == (403, 400)
    assert (await contact_of(stack, PHONE))["erased_at"] is None


async def test_an_erasure_waits_for_what_is_under_way(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(PHONE)]))
    person = (await contact_of(stack, PHONE))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)

    await deliver(stack, body(change(messages=[said("hello", PHONE)])))
    waiting = await compliance.delete(f"/api/contacts/{person}", params=WHY)
    await stack.settle()
    await compliance.post("/api/audits", json={"reason": "under way"})
    building = await compliance.delete(f"/api/contacts/{person}", params=WHY)
    await stack.work()
    free = await compliance.delete(f"/api/contacts/{person}", params=WHY)

    assert [waiting.status_code, building.status_code, free.status_code] == [409, 409, 200]
    assert "webhooks" in waiting.json()["detail"] and "export" in building.json()["detail"]


async def test_access_tells_the_person_everything_and_portability_what_they_gave(stack: Stack) -> None:
    person = await a_life(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    path = f"/api/contacts/{person}"

    told = await compliance.get(f"{path}/access", params=WHY)
    page = await compliance.get(f"{path}/access", params={**WHY, "form": "html"})
    taken = (await compliance.get(f"{path}/portability", params=WHY)).json()
    marketer = await stack.client.get(f"{path}/access", params=WHY)

    document = told.json()
    assert {row["value"] for row in document["addresses"]} == {PHONE, USER_ID}
    assert document["person"]["attributes"] == {"city": "Quirkstadt", "street": "Quirkstadt Road 1"}
    assert document["messages_to_you"][0]["parameters"]["body.1"] == NAME
    assert document["messages_from_you"][0]["text"] == f"I am {NAME}, call me"
    assert [row["order_id"] for row in document["orders"]] == ["o-1"]
    assert len(document["link_visits"]) == 1 and document["audiences"][0]["name"] == "Regulars"
    assert any(NAME in json.dumps(row) for row in document["consent_records"] if "evidence" in row)
    assert page.headers["content-type"].startswith("text/html") and NAME in page.text and "<script" not in page.text
    assert taken["person"]["name"] == NAME and "consent_records" not in taken
    assert marketer.status_code == 403


async def test_every_night_what_is_past_its_time_goes(stack: Stack) -> None:
    person = await a_life(stack)
    async with stack.sessions.begin() as session:
        for table, column in (("webhook_events", "created_at"), ("imports", "finished_at"), ("exports", "finished_at")):
            await session.execute(text(f"UPDATE {table} SET {column} = now() - interval '91 days'"))
    held = len(list((stack.settings.data_dir / "exports").glob("*.zip")))

    done = await keeping.keep_to_terms(stack.ctx)

    assert done["webhook_bodies"] > 0 and done["export_files"] == held == 1 and done["import_files"] == 2
    assert (await contact_of(stack, PHONE))["id"] == person
    async with stack.sessions() as session:
        raws = await session.execute(text("SELECT count(*) FROM import_rows WHERE jsonb_typeof(raw) = 'object'"))
        assert raws.scalar_one() == 0
        left = await session.execute(text("SELECT count(*) FROM webhook_events"))
        noted = await session.execute(text("SELECT facts FROM audit_log WHERE action = 'retention.run'"))
    assert left.scalar_one() == 0 and noted.scalar_one()["counts"]["export_files"] == 1
    audit = (await (await stack.sign_in(Role.COMPLIANCE)).get("/api/audits")).json()["items"][0]
    gone = await (await stack.sign_in(Role.COMPLIANCE)).get(f"/api/audits/{audit['id']}/download")
    assert gone.status_code == 409 and "gone" in gone.json()["detail"]
