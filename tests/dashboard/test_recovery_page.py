"""The pages about a restored backup, about people who were erased, and about packages of a campaign."""

from collections.abc import Iterator

import httpx
import pytest

from core.statuses import Role
from core.witness import Mark, Witness
from tests.analytics import golden
from tests.dashboard.conftest import PASSWORD, Stack, Visit, said

NUMBER = "+4915112345678"


@pytest.fixture
def compliance(full_stack: Stack, dashboard: Visit) -> Iterator[httpx.Client]:
    """The API as the compliance desk."""
    with httpx.Client(base_url=full_stack.url, trust_env=False) as client:
        body = {"email": "compliance@example.com", "password": PASSWORD}
        client.headers["authorization"] = f"Bearer {client.post('/api/session', json=body).json()['token']}"
        yield client


def test_a_restored_database_is_said_and_recovered_from(dashboard: Visit, full_stack: Stack) -> None:
    note = Mark(10_000, "ab" * 32, "cd" * 32, "kairan/x", "note", "2026-11-20T10:00:00.000000Z")
    Witness(full_stack.settings.data_dir / "keys").accept(note)
    reader = dashboard(Role.AUDITOR, "compliance")
    assert "A restored database: marketing waits" in said(reader) and "10,000 were signed" in said(reader)
    assert "recover_reason" not in [field.key for field in reader.text_input]

    at = dashboard(Role.COMPLIANCE, "compliance")
    assert "recover_do" not in [button.key for button in at.button]
    at.text_input(key="recover_reason").set_value("restored the backup of Friday").run()
    at.button(key="recover_look").click().run()
    assert "People erased since, and there again" in [tile.label for tile in at.metric]
    at.button(key="recover_do").click().run()

    assert not at.exception and not at.error
    assert "A restored database" not in said(at)


def test_an_erased_person_is_found_by_the_number_they_state(dashboard: Visit, compliance: httpx.Client) -> None:
    stop = {"action": "opt_out", "source_record_id": "s", "occurred_at": "2026-11-20T10:00:00Z", "phone": NUMBER}
    person = compliance.post("/api/consents", json=stop).json()["contact_id"]
    assert compliance.delete(f"/api/contacts/{person}", params={"reason": "asked by letter"}).status_code == 200

    at = dashboard(Role.COMPLIANCE, "data_requests")
    at.text_input(key="erased_phone").set_value("+49 170 0000000")
    at.text_input(key="erased_reason").set_value("complaint by letter")
    at.button(key="erased_button").click().run()
    assert "nobody with this number was erased here" in said(at)
    at.text_input(key="erased_phone").set_value("+49 151 12345678")
    at.button(key="erased_button").click().run()

    assert not at.exception
    assert "Yes: erased on" in said(at) and "because they asked" in said(at) and "Reference of the request" in said(at)
    assert ">Erased<" in said(at) and ">Withdrawn<" in said(at)
    assert NUMBER not in said(at)


def test_a_package_of_a_campaign_is_shown_by_the_campaigns_name(dashboard: Visit, compliance: httpx.Client) -> None:
    campaigns = compliance.get("/api/campaigns").json()["items"]
    chosen = next(each for each in campaigns if each["id"] == str(golden.an_id("C1")))
    made = compliance.post("/api/audits", json={"reason": "by campaign", "campaign_id": chosen["id"]})
    assert made.status_code == 202

    at = dashboard(Role.COMPLIANCE, "compliance")
    log = dashboard(Role.AUDITOR, "audit_log")

    assert rf"campaign\: {chosen['name']}" in said(at) and chosen["id"] not in said(at)
    assert f"Audit package of campaign {chosen['name']}" in said(log)


def test_a_rule_asks_for_an_event_that_was_told(dashboard: Visit, full_stack: Stack) -> None:
    with httpx.Client(base_url=full_stack.url, trust_env=False) as client:
        body = {"email": "marketer@example.com", "password": PASSWORD}
        client.headers["authorization"] = f"Bearer {client.post('/api/session', json=body).json()['token']}"
        person = client.get("/api/contacts").json()["items"][0]["id"]
        told = {"event": "cart_left", "contact_id": person, "occurred_at": "2026-11-20T10:00:00Z"}
        assert client.post("/api/events", json={"items": [told]}).json()["recorded"] == 1

    at = dashboard(Role.MARKETER, "audiences")
    kind = next(str(box.key) for box in at.selectbox if str(box.key).startswith("kind_"))
    at.selectbox(key=kind).set_value("did").run()
    deed = next(str(box.key) for box in at.selectbox if str(box.key).startswith("did_"))
    at.selectbox(key=deed).set_value("event").run()

    assert not at.exception
    assert r"did “cart\_left” in the last 90 days" in said(at)
