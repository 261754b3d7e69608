"""Consents in a file are recorded when somebody vouches for them, and many of them when a second person has looked."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from sqlalchemy import func, select

from core.clock import utc_now
from core.models import AuditEntry, ConsentEvent, Contact, Import
from core.services import consents, imports_approval
from core.services.people import Actor
from core.statuses import Role
from tests.factories import VOUCHED, an_import, consenting, csv_of
from tests.integration.stack import Stack

LIMIT = 5  # opt-ins that one person may bring alone, in these tests


@pytest.fixture
def setting_changes() -> dict[str, Any]:
    return {"import_approval_above": LIMIT}


def a_list(people: int, **changes: str) -> bytes:
    return csv_of([consenting(f"+49170123{n:05}", **changes) for n in range(people)])


async def people_known(stack: Stack) -> int:
    async with stack.sessions() as session:
        return (await session.scalars(select(func.count()).select_from(Contact))).one()


async def batches(stack: Stack) -> list[dict[str, str]]:
    """What the ledger says about files."""
    async with stack.sessions() as session:
        query = select(ConsentEvent.core).where(ConsentEvent.event_type == "IMPORT_BATCH").order_by(ConsentEvent.seq)
        return [msgspec.json.decode(core)["refs"] for core in await session.scalars(query)]


async def post(client: httpx.AsyncClient, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def find_all(officer: httpx.AsyncClient, job: dict[str, Any], finding: str = "proven") -> list[int]:
    shown = (await officer.get(f"/api/imports/{job['id']}/approval")).json()
    for row in shown["sample"]:
        path = f"/api/imports/{job['id']}/sample/{row['row_number']}"
        answer = await officer.put(path, json={"finding": finding})
        assert answer.status_code == 200, answer.text
    return [row["row_number"] for row in shown["sample"]]


async def test_a_file_nobody_vouches_for_is_only_checked(stack: Stack) -> None:
    job = await an_import(stack, a_list(2), attestation=None)

    assert (job["status"], job["needs"], job["verdicts"]) == ("checked", "attestation", {"accepted": 2})
    assert await people_known(stack) == 0
    refused = await post(stack.client, f"/api/imports/{job['id']}/confirm", status=422)
    assert "2 opt-ins" in refused["detail"]

    statement = (await stack.client.get("/api/imports/statement")).json()
    old = {"attestation": {**VOUCHED, "statement": "0"}}
    assert "read it again" in (await post(stack.client, f"/api/imports/{job['id']}/confirm", old, 422))["detail"]
    said = {"attestation": {**VOUCHED, "statement": statement["version"]}}
    confirmed = await post(stack.client, f"/api/imports/{job['id']}/confirm", said)
    await stack.work()

    assert (confirmed["attestation"]["role"], confirmed["needs"]) == (VOUCHED["role"], None)
    assert await people_known(stack) == 2


async def test_opt_outs_wait_for_nobody(stack: Stack) -> None:
    rows = [{"phone": f"+49170123{n:05}", "action": "opt_out"} for n in range(LIMIT + 3)]

    job = await an_import(stack, csv_of(rows), attestation=None)

    assert (job["status"], job["verdicts"]) == ("done", {"opt_out_applied": LIMIT + 3})


async def test_many_opt_ins_wait_for_a_second_person_who_opened_a_sample(stack: Stack) -> None:
    job = await an_import(stack, a_list(LIMIT + 7))
    officer = await stack.sign_in(Role.COMPLIANCE)

    assert (job["status"], job["needs"]) == ("awaiting", "approval")
    assert (await people_known(stack), await batches(stack)) == (0, [])
    listed = (await officer.get("/api/imports", params={"status": "awaiting"})).json()["items"]
    assert [each["id"] for each in listed] == [job["id"]]

    unopened = await post(officer, f"/api/imports/{job['id']}/approve", status=409)
    assert "open the proof of every row" in unopened["detail"]
    rows = await find_all(officer, job, "unproven")
    assert len(rows) == 10, "two in a hundred are one row here, and ten are the least"
    shown = (await officer.get(f"/api/imports/{job['id']}/approval")).json()
    assert shown["sample"][0]["raw"]["evidence_ref"].startswith("s3://forms/")
    unproven = await post(officer, f"/api/imports/{job['id']}/approve", status=409)
    assert "not proven" in unproven["detail"]
    await find_all(officer, job)
    await post(officer, f"/api/imports/{job['id']}/approve")
    await stack.work()

    done = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert (done["status"], done["verdicts"], await people_known(stack)) == ("done", {"accepted": 12}, 12)
    (batch,) = await batches(stack)
    async with stack.sessions() as session:
        stored = (await session.scalars(select(Import))).one()
    assert batch == {
        "import_batch": job["id"],
        "sha256": job["sha256"],
        "rows": "12",
        "verdicts": "accepted=12",
        "outcome": "done",
        "attestation_sha256": batch["attestation_sha256"],
        "statement": "1",
        "attested_by": str(stored.created_by),
        "approved_by": str(stored.approved_by),
        "sample": "proven=10",
    }


async def test_nobody_approves_what_they_brought_or_vouched_for(stack: Stack) -> None:
    officer, admin = await stack.sign_in(Role.COMPLIANCE), await stack.sign_in(Role.ADMIN)
    files = {"file": ("people.csv", a_list(LIMIT + 1), "text/csv")}
    answer = await admin.post("/api/imports", files=files, data={"options": json.dumps({"attestation": VOUCHED})})
    await stack.work()
    job = answer.json()

    own = (await admin.get(f"/api/imports/{job['id']}/approval")).json()
    shown = (await officer.get(f"/api/imports/{job['id']}/approval")).json()
    refused = await admin.put(
        f"/api/imports/{job['id']}/sample/{shown['sample'][0]['row_number']}", json={"finding": "proven"}
    )

    assert (own["mine"], own["sample"], refused.status_code) == (True, [], 403)
    assert (await post(admin, f"/api/imports/{job['id']}/approve", status=403))["code"] == "forbidden"
    await post(stack.client, f"/api/imports/{job['id']}/approve", status=403)  # a marketer never does
    await find_all(officer, job)
    assert (await post(officer, f"/api/imports/{job['id']}/approve"))["status"] == "waiting"


async def test_who_made_a_key_does_not_approve_what_came_with_it(stack: Stack) -> None:
    admin = await stack.sign_in(Role.ADMIN)
    key = (await admin.post("/api/keys", json={"name": "CRM", "role": "marketer"})).json()["secret"]
    files, options = {"file": ("people.csv", a_list(LIMIT + 1), "text/csv")}, {"attestation": VOUCHED}
    headers = {"authorization": f"Bearer {key}"}
    sent = await stack.client.post("/api/imports", files=files, data={"options": json.dumps(options)}, headers=headers)
    await stack.work()

    shown = (await admin.get(f"/api/imports/{sent.json()['id']}/approval")).json()

    assert (shown["job"]["status"], shown["mine"]) == ("awaiting", True)
    assert shown["job"]["attestation"]["name"] == "CRM"
    async with stack.sessions() as session:
        looks = AuditEntry.action == "import.sample_opened"
        await admin.get(f"/api/imports/{sent.json()['id']}/approval")
        assert await session.scalar(select(func.count()).where(looks)) == 1, "a page asks with every click"


async def test_a_refused_file_leaves_nothing_and_its_owner_reads_why(stack: Stack) -> None:
    officer = await stack.sign_in(Role.COMPLIANCE)
    job = await an_import(stack, a_list(LIMIT + 1), audience_name="Bought")

    blank = await post(officer, f"/api/imports/{job['id']}/refuse", {"reason": "     "}, status=400)
    refused = await post(officer, f"/api/imports/{job['id']}/refuse", {"reason": "the list was bought"})

    assert blank["detail"] == "reason needs words, not only blanks"
    assert (refused["status"], refused["error"]) == ("cancelled", "refused by Compliance: the list was bought")
    await stack.work()
    assert (await people_known(stack), await batches(stack)) == (0, [])
    await post(officer, f"/api/imports/{job['id']}/approve", status=409)
    async with stack.sessions() as session:
        told = select(AuditEntry.reason).where(AuditEntry.object_id == job["id"], AuditEntry.action == "import.refused")
        assert list(await session.scalars(told)) == ["the list was bought"]


async def test_who_approves_sees_that_many_agreed_in_the_same_second(stack: Stack) -> None:
    job = await an_import(stack, a_list(40))

    claims = job["claims"]
    assert (claims["opt_ins"], claims["sayings"]["collection_point"]) == (40, {"checkout": 40})
    assert claims["fullest_second"] == {"at": "2026-05-01T07:30:00+00:00", "opt_ins": 40}
    days = await an_import(stack, a_list(40, occurred_at="2026-05-01"))
    assert "fullest_second" not in days["claims"], "a day without a time is no second"


async def test_a_check_goes_the_same_way_and_a_changed_limit_counts_at_once(stack: Stack) -> None:
    job = await an_import(stack, a_list(LIMIT + 1), dry_run=True, attestation=None)
    assert (job["status"], job["needs"]) == ("checked", "attestation")

    confirmed = await post(stack.client, f"/api/imports/{job['id']}/confirm", {"attestation": VOUCHED})

    assert (confirmed["status"], confirmed["needs"]) == ("awaiting", "approval")
    await post(stack.client, f"/api/imports/{job['id']}/cancel")
    assert await people_known(stack) == 0


async def test_who_said_no_in_a_file_that_waits_is_left_alone_at_once_and_whatever_becomes_of_it(stack: Stack) -> None:
    officer, gone = await stack.sign_in(Role.COMPLIANCE), "+491701230000"
    await an_import(stack, csv_of([consenting(gone)]))
    rows = [consenting(f"+49170123{n:05}", source_record_id=f"b{n}") for n in range(1, LIMIT + 2)]
    content = csv_of([*rows, {"phone": gone, "action": "opt_out"}, {"phone": "+491701239999", "action": "opt_out"}])

    checked = await an_import(stack, content, dry_run=True)
    assert (checked["status"], await people_known(stack)) == ("checked", 1), "who only asks for a check writes nothing"
    asked = await post(stack.client, f"/api/imports/{checked['id']}/confirm")
    await stack.work()

    job = (await stack.client.get(f"/api/imports/{checked['id']}")).json()
    assert (asked["status"], job["status"]) == ("waiting", "awaiting")
    assert job["verdicts"] == {"accepted": LIMIT + 1, "opt_out_applied": 2}
    known = (await stack.client.get("/api/contacts", params={"phone": gone})).json()["items"]
    trail = (await officer.get(f"/api/contacts/{known[0]['id']}/consents")).json()
    assert {state["purpose"]: state["state"] for state in trail["states"]}["marketing"] == "withdrawn"
    assert await people_known(stack) == 2, "and the other one is known as somebody who said no"

    await post(officer, f"/api/imports/{job['id']}/refuse", {"reason": "no proof"})
    last = (await batches(stack))[-1]
    assert (last["outcome"], last["verdicts"], last["rows"]) == ("cancelled", "opt_out_applied=2", "8")

    again = await an_import(stack, content)  # the same file, once more, and approved this time
    await find_all(officer, again)
    await post(officer, f"/api/imports/{again['id']}/approve")
    await stack.work()
    done = (await stack.client.get(f"/api/imports/{again['id']}")).json()
    assert (done["status"], done["verdicts"]) == ("done", {"accepted": LIMIT + 1, "opt_out_applied": 2})
    assert await people_known(stack) == LIMIT + 3


async def test_who_brought_a_file_does_not_learn_which_rows_are_the_sample(stack: Stack) -> None:
    job = await an_import(stack, a_list(LIMIT + 30))

    rows = (await stack.client.get(f"/api/imports/{job['id']}/rows", params={"limit": 200})).json()["items"]

    assert (job["status"], len(rows)) == ("awaiting", LIMIT + 30)
    assert [row for row in rows if row["raw"] is not None] == []


async def test_somebody_elses_word_does_not_let_those_decide_who_brought_the_file_or_vouched_before(
    stack: Stack,
) -> None:
    officer, admin = await stack.sign_in(Role.COMPLIANCE), await stack.sign_in(Role.ADMIN)
    key = (await admin.post("/api/keys", json={"name": "CRM", "role": "marketer"})).json()["secret"]
    files, options = {"file": ("people.csv", a_list(LIMIT + 1), "text/csv")}, {"dry_run": True}
    headers = {"authorization": f"Bearer {key}"}
    sent = await stack.client.post("/api/imports", files=files, data={"options": json.dumps(options)}, headers=headers)
    vouched = await an_import(stack, a_list(LIMIT + 1), dry_run=True)
    await stack.work()

    await post(stack.client, f"/api/imports/{sent.json()['id']}/confirm", {"attestation": VOUCHED})
    await post(admin, f"/api/imports/{vouched['id']}/confirm", {"attestation": VOUCHED})
    by_key = (await admin.get(f"/api/imports/{sent.json()['id']}/approval")).json()
    async with stack.sessions() as session:
        stored = await session.get_one(Import, UUID(vouched["id"]))
        marketer = Actor(id=stored.created_by, name="Marketer", role=Role.COMPLIANCE, user_id=stored.created_by)
        earlier = Import(created_by=None, attestation=stored.attestation)

    assert (by_key["job"]["status"], by_key["mine"]) == ("awaiting", True)
    assert imports_approval.is_own(earlier, marketer), "they vouched when they uploaded it"
    await find_all(officer, sent.json())
    await post(officer, f"/api/imports/{sent.json()['id']}/approve")


async def test_a_file_that_is_another_one_by_now_is_not_recorded(stack: Stack) -> None:
    officer = await stack.sign_in(Role.COMPLIANCE)
    job = await an_import(stack, a_list(LIMIT + 1))
    await find_all(officer, job)
    async with stack.sessions() as session:
        path = Path((await session.get_one(Import, UUID(job["id"]))).path)
    path.write_bytes(a_list(LIMIT + 90))

    await post(officer, f"/api/imports/{job['id']}/approve")
    await stack.work()

    after = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert (after["status"], await people_known(stack)) == ("failed", 0)
    assert after["error"].startswith("the uploaded file was changed")


async def test_what_was_in_the_future_when_the_file_came_is_no_consent_when_it_is_recorded(stack: Stack) -> None:
    soon = (utc_now() + timedelta(seconds=2)).isoformat()
    rows = [consenting(f"+49170123{n:05}", occurred_at=soon) for n in range(LIMIT + 4)]
    job = await an_import(stack, csv_of([consenting("+491701239999"), *rows]), dry_run=True)
    await asyncio.sleep(2)

    await post(stack.client, f"/api/imports/{job['id']}/confirm")
    await stack.work()

    after = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert (job["claims"]["opt_ins"], after["status"]) == (1, "done")
    assert after["verdicts"] == job["verdicts"] == {"accepted": 1, "rejected": LIMIT + 4}


@pytest.mark.parametrize("is_begun", [False, True])
async def test_opt_ins_that_nobody_saw_are_not_recorded_with_those_that_were_approved(
    stack: Stack, is_begun: bool
) -> None:
    officer = await stack.sign_in(Role.COMPLIANCE)
    unknown = [consenting(f"+49170124{n:05}", purpose="marketing.games") for n in range(LIMIT + 9)]
    many = [consenting(f"+49170123{n:05}") for n in range(LIMIT + 1)]
    job = await an_import(stack, csv_of([*many, *unknown]))
    await find_all(officer, job)
    await post(officer, f"/api/imports/{job['id']}/approve")
    async with stack.sessions.begin() as session:
        await consents.put_purpose(
            session,
            code="marketing.games",
            controller="acme",
            description={"en": "Games"},
            min_grade="C",
            validity_days=90,
            needs_consent=True,
            keyring=stack.parts.keyring,
            now=utc_now(),
        )
        if is_begun:
            (await session.get_one(Import, UUID(job["id"]))).rows_done = 1

    await stack.work()

    after = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert job["claims"]["opt_ins"] == LIMIT + 1
    assert (after["status"], after["approved_at"] is None) == (("failed", False) if is_begun else ("awaiting", True))
    assert await people_known(stack) == 0


async def test_rows_that_can_be_used_since_the_approval_are_not_recorded_with_those_that_were_seen(
    stack: Stack,
) -> None:
    officer = await stack.sign_in(Role.COMPLIANCE)
    unknown = [consenting(f"+49170124{n:05}", notice_id="leaflet") for n in range(LIMIT + 9)]
    job = await an_import(stack, csv_of([consenting("+491701239999"), *unknown]))
    await find_all(officer, job)
    await post(officer, f"/api/imports/{job['id']}/approve")
    async with stack.sessions.begin() as session:
        await consents.publish_notice(
            session,
            code="leaflet",
            language="en",
            controller="acme",
            purposes=["marketing"],
            text="We write to you about our products and offers.",
            withdrawal_info="Write STOP to end it.",
            keyring=stack.parts.keyring,
            now=utc_now(),
        )

    await stack.work()

    after = (await stack.client.get(f"/api/imports/{job['id']}")).json()
    assert job["verdicts"] == {"accepted": 1, "not_sendable": LIMIT + 9}
    assert (after["status"], await people_known(stack)) == ("failed", 0)
    assert after["error"].startswith("more opt-ins can be used now than the 1")


async def test_a_file_cut_in_pieces_is_one(stack: Stack) -> None:
    rows = [consenting(f"+49170123{n:05}") for n in range(2 * LIMIT)]

    first = await an_import(stack, csv_of(rows[: LIMIT - 1]))
    second = await an_import(stack, csv_of(rows[LIMIT - 1 : LIMIT + 2]))

    assert (first["status"], second["status"], second["needs"]) == ("done", "awaiting", "approval")
    assert await people_known(stack) == LIMIT - 1
    contacts_only = await an_import(stack, csv_of([{"phone": row["phone"]} for row in rows]))
    assert contacts_only["status"] == "done", "who agrees to nothing needs nobody's approval"
