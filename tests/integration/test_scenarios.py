"""What compliance is asked in the worst weeks: complaints of erased people, large exports, old backups."""

from typing import Any

from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack


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
