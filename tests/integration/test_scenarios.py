"""What compliance is asked in the worst weeks: complaints of erased people, large exports, old backups."""

from datetime import timedelta
from typing import Any

import pytest

from core.clock import utc_now
from core.services import consents
from core.statuses import Role
from core.traces import Traces
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_erasure import NAME, PHONE, USER_ID, WHY, a_life, a_package

ANA = "+491701234500"


@pytest.fixture
def setting_changes() -> dict[str, Any]:
    return {"import_approval_above": 2_000}  # what packages may hold is another question than what files may bring


async def test_scenario_65_a_package_of_1001_people_is_blocked_until_a_second_person_approves(stack: Stack) -> None:
    rows = [consenting(f"+4917012{number:05}", source_record_id=f"r{number}") for number in range(1001)]
    await an_import(stack, csv_of(rows))
    compliance, admin = await stack.sign_in(Role.COMPLIANCE), await stack.sign_in(Role.ADMIN)

    async def made(**filters: Any) -> dict[str, Any]:
        audit = (await compliance.post("/api/audits", json={"reason": "the authority asked", **filters})).json()
        await stack.work()
        found: dict[str, Any] = (await compliance.get(f"/api/audits/{audit['id']}")).json()
        return found

    large = await made()
    path = f"/api/audits/{large['id']}"
    assert (large["status"], large["facts"]["people"], large["needs_approval"]) == ("done", 1001, True)
    blocked = await compliance.get(f"{path}/download")
    by_the_same = await compliance.post(f"{path}/approve")
    assert blocked.status_code == 409 and "1,001 people" in blocked.json()["detail"]
    assert by_the_same.status_code == 403

    approved = (await admin.post(f"{path}/approve")).json()
    again = await admin.post(f"{path}/approve")

    assert (approved["needs_approval"], again.status_code) == (False, 409)
    assert (await compliance.get(f"{path}/download")).status_code == 200
    some = (await compliance.get("/api/contacts", params={"limit": 200})).json()["items"]
    small = await made(contact_ids=[person["id"] for person in some])
    assert (small["facts"]["people"], small["needs_approval"]) == (200, False)
    assert (await compliance.get(f"/api/audits/{small['id']}/download")).status_code == 200


async def test_a_restriction_stops_everything_for_as_long_as_nobody_lifts_it(stack: Stack) -> None:
    sender = await a_sender(stack)
    await an_import(stack, csv_of([consenting(ANA)]))
    (person,) = (await stack.client.get("/api/contacts", params={"phone": ANA})).json()["items"]
    compliance = await stack.sign_in(Role.COMPLIANCE)
    path = f"/api/holds/{person['id']}"

    placed = await compliance.post(f"{path}/place", json={"reason": "asked by letter"})
    twice = await compliance.post(f"{path}/place", json={"reason": "asked by letter"})
    (listed,) = (await compliance.get("/api/holds")).json()["items"]
    async with stack.sessions.begin() as session:
        parts = {"keyring": stack.parts.keyring, "settings": stack.settings}
        decided = await consents.settle_due(session, now=utc_now() + timedelta(days=30), **parts)
    await launched(stack, await a_campaign(stack, sender, await a_template(stack, sender), await an_audience(stack)))
    await stack.settle()

    assert (placed.json()["state"], twice.status_code, decided) == ("subscribed", 409, 0)
    assert (listed["reason"], listed["decided_at"]) == ("restriction", None)
    messages = (await stack.client.get(f"/api/contacts/{person['id']}/messages")).json()["items"]
    assert [(each["status"], each["skip_reason"]) for each in messages] == [("skipped", "hold")]
    lifted = await compliance.post(f"{path}/release", json={"reason": "it is settled"})
    assert lifted.json()["state"] == "subscribed"
    assert (await compliance.get("/api/holds")).json()["items"] == []
    assert (await a_package(stack, compliance)).verdict == "PASS"


async def test_scenario_60_an_erased_person_who_complains_is_found_by_the_number_they_state(stack: Stack) -> None:
    person = await a_life(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    asked = {"phone": "0151 23456789", "reason": "complaint by letter"}
    unknown = await compliance.get("/api/contacts/erased", params=asked)
    await compliance.delete(f"/api/contacts/{person}", params=WHY)

    found = await compliance.get("/api/contacts/erased", params=asked)
    refused = await stack.client.get("/api/contacts/erased", params=asked)

    assert (unknown.status_code, refused.status_code) == (404, 403)
    (stub,) = found.json()
    kinds = [event["event_type"] for event in stub["events"]]
    assert (stub["contact_id"], stub["reason"]) == (person, "erasure")
    assert stub["cause"] == stub["events"][-1]["refs"]["dsar"]
    assert kinds[0] == "GRANTED" and kinds[-2:] == ["WITHDRAWN", "ERASED"]
    grant = stub["events"][0]
    assert grant["notice_hash"] and grant["collection_point"] == "checkout"
    (sent,) = stub["messages"]
    assert sent["permit_seq"] in {event["seq"] for event in stub["events"]} and sent["permitted_at"]
    assert not Traces.of(numbers=[PHONE], words=[NAME, USER_ID]).within(found.text)
    log = (await compliance.get("/api/audit-log", params={"action": "contact.erased_looked_up"})).json()["items"]
    assert [(entry["object_id"], entry["reason"]) for entry in log] == [(person, "complaint by letter")]
