"""The compliance desk: figures that agree with the ledger, proof of a campaign, integrity, two persons, a log."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from core.consent import verify
from core.db import make_engine
from core.services import people
from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import PASSWORD, Stack, _hash
from tests.integration.test_erasure import contact_of
from tests.integration.test_webhooks import body, change, deliver, said
from worker import recording

ANA, BOB, CAI = (f"+49170123456{number:02d}" for number in range(3))
NOTICE = {
    "code": "newsletter",
    "language": "de",
    "controller": "Acme",
    "purposes": ["marketing"],
    "text": "Ich möchte Neuigkeiten per WhatsApp.",
    "withdrawal_info": "Antworten Sie STOPP.",
}


async def a_sent_campaign(stack: Stack) -> str:
    """Ana and Bob agreed and got it, Cai did not agree; Bob stops afterwards."""
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(ANA), consenting(BOB), {"phone": CAI}]))
    campaign = await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()
    await deliver(stack, body(change(messages=[said("STOP", BOB)])))
    await stack.settle()
    return str(campaign["id"])


async def as_owner(stack: Stack, *statements: str, **values: Any) -> None:
    """What somebody with the database's password does, past every trigger."""
    engine = make_engine(stack.settings.database_url, role=None)
    async with engine.begin() as connection:
        for table in ("consent_events", "message_events"):
            await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for statement in statements:
            await connection.execute(text(statement), values)
    await engine.dispose()


async def test_the_overview_counts_what_the_ledger_says(stack: Stack) -> None:
    await a_sent_campaign(stack)
    auditor = await stack.sign_in(Role.AUDITOR)

    found = (await auditor.get("/api/consents/overview")).json()
    refused = await stack.client.get("/api/consents/overview")

    assert found["by"]["state"]["marketing"] == {"subscribed": 1, "withdrawn": 1}
    assert found["by"]["grade"]["marketing"] == {"C": 1}
    assert found["by"]["method"]["marketing"] == {"web_form": 1}
    assert found["by"]["country"]["marketing"] == {"DE": 1}
    assert (found["days"][-1]["given"], found["days"][-1]["taken_back"]) == (2, 1)
    assert refused.status_code == 403


async def test_the_proof_of_a_campaign_holds_until_somebody_sends_past_the_gate(stack: Stack) -> None:
    campaign = await a_sent_campaign(stack)
    auditor = await stack.sign_in(Role.AUDITOR)
    path = f"/api/campaigns/{campaign}/proof"

    proof = (await auditor.get(path)).json()

    assert proof["holds"] and set(proof["faults"].values()) == {0}
    assert (proof["recipients"], proof["sent"], proof["allowed"]) == (3, 2, 2)
    assert proof["skipped"] == {"no_consent": 1}
    # Four ways to send without a consent, each found and told apart.
    about_cai = "WHERE contact_id = (SELECT contact_id FROM contact_addresses WHERE value = :cai)"
    about_bob = "WHERE contact_id = (SELECT contact_id FROM contact_addresses WHERE value = :bob)"
    for statement, fault in (
        (f"UPDATE messages SET status = 'sent' {about_cai}", "sent without a permit"),
        (f"UPDATE messages SET status = 'sent', permitted_at = now() {about_cai}", "sent without a consent on record"),
        (f"UPDATE messages SET permitted_at = now() + interval '1 hour' {about_bob}", "sent after a withdrawal"),
        (
            "UPDATE messages SET permitted_at = now() + interval '900 days' WHERE permit_seq IS NOT NULL",
            "sent after the consent had expired",
        ),
    ):
        await as_owner(stack, statement, **{n: v for n, v in (("cai", CAI), ("bob", BOB)) if f":{n}" in statement})
        broken = (await auditor.get(path)).json()
        assert not broken["holds"] and broken["faults"][fault] > 0, fault


async def test_an_intact_ledger_passes_and_its_checkpoint_can_be_given_away(stack: Stack) -> None:
    await a_sent_campaign(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.post("/api/audits", json={"reason": "signs a checkpoint"})
    await stack.work()
    size = (await compliance.get("/api/ledger")).json()["checkpoint"]["size"]

    asked = await compliance.post("/api/ledger/verify")
    await stack.work()
    found = (await compliance.get("/api/ledger/integrity")).json()
    note = await compliance.get(f"/api/ledger/checkpoints/{size}")
    anchor = {"size": size, "kind": "email", "reference": "sent to counsel on 22 November"}
    kept = await compliance.post("/api/ledger/anchors", json=anchor)
    strange = await compliance.post("/api/ledger/anchors", json={**anchor, "size": size + 1000})

    assert asked.status_code == 202 and found["latest"]["passed"] and found["latest"]["findings"] == []
    assert stack.parts.keyring.signed_by_us(note.text, note.text.splitlines()[0])
    assert kept.status_code == 201 and strange.status_code == 422
    listed = (await compliance.get("/api/ledger/integrity")).json()["anchors"]
    assert [each["reference"] for each in listed] == ["sent to counsel on 22 November"]


LAST = "(SELECT max(seq) FROM consent_events)"
GRANT = "(SELECT min(seq) FROM consent_events WHERE event_type = 'GRANTED')"
TAMPERED: dict[str, tuple[str, ...]] = {
    "a row is edited": (f"UPDATE consent_events SET core = replace(core, 'checkout', 'checkins') WHERE seq = {GRANT}",),
    "a row and its hash are edited": (
        f"UPDATE consent_events SET core = replace(core, 'checkout', 'checkins') WHERE seq = {GRANT}",
        "UPDATE consent_events SET leaf_hash = encode(sha256('\\x00'::bytea || convert_to(core, 'UTF8')), 'hex')",
    ),
    "a row is deleted": (
        f"DELETE FROM consent_evidence WHERE event_id = (SELECT event_id FROM consent_events WHERE seq = {GRANT})",
        f"DELETE FROM consent_events WHERE seq = {GRANT}",
    ),
    "the tail is cut and the head is set back": (
        f"DELETE FROM consent_evidence WHERE event_id = (SELECT event_id FROM consent_events WHERE seq = {LAST})",
        f"DELETE FROM consent_events WHERE seq = {LAST}",
        "UPDATE consent_chain SET (seq, leaf_hash) ="
        " (SELECT seq, leaf_hash FROM consent_events ORDER BY seq DESC LIMIT 1)",
    ),
    "evidence is removed and nobody was erased": ("DELETE FROM consent_evidence",),
    "evidence is changed": ("UPDATE consent_evidence SET payload = replace(payload, '9', '8')",),
    "evidence is swapped between two events": (
        "UPDATE consent_evidence a SET payload = b.payload, salt = b.salt FROM consent_evidence b"
        " WHERE a.event_id <> b.event_id",
    ),
    "a withdrawal is written over in the cache": ("UPDATE consent_state SET state = 'subscribed'",),
    "a record is dated before its predecessor": (
        'UPDATE consent_events SET core = regexp_replace(core, \'"recorded_at":"2\', \'"recorded_at":"1\')'
        f" WHERE seq = {LAST}",
    ),
    "a checkpoint is changed": ("UPDATE consent_checkpoints SET root = repeat('0', 64)",),
}


@pytest.mark.parametrize("statements", TAMPERED.values(), ids=TAMPERED)
async def test_whatever_is_changed_past_the_triggers_is_found(stack: Stack, statements: tuple[str, ...]) -> None:
    await an_import(stack, csv_of([consenting(ANA), consenting(BOB)]))
    await deliver(stack, body(change(messages=[said("STOP", BOB)])))
    await stack.settle()
    compliance = await stack.sign_in(Role.COMPLIANCE)
    intact, before = await checked(stack, compliance)
    assert intact and before == "PASS"
    await recording.sign_checkpoint(stack.ctx)  # within five minutes; until then the newest records are not signed

    await as_owner(stack, *statements)

    passed, verdict = await checked(stack, compliance)
    assert not passed
    # A package replays the ledger itself, and holds the signed notes of checkpoints, not what tables say of them.
    if not any("consent_state" in statement or "consent_checkpoints" in statement for statement in statements):
        assert verdict != "PASS"


async def checked(stack: Stack, compliance: httpx.AsyncClient) -> tuple[bool, str]:
    """What our own check says, and what the program in a package says (or that none can be made)."""
    await compliance.post("/api/ledger/verify")
    made = (await compliance.post("/api/audits", json={"reason": "a look at it"})).json()
    await stack.work()
    passed = (await compliance.get("/api/ledger/integrity")).json()["latest"]["passed"]
    audit = (await compliance.get(f"/api/audits/{made['id']}")).json()
    if audit["status"] != "done":
        return passed, str(audit["error"])
    package = stack.settings.data_dir / "exports" / f"audit-{made['id']}.zip"
    return passed, verify.verify(package, stack.parts.keyring.fingerprint).verdict


async def another(stack: Stack, role: Role) -> httpx.AsyncClient:
    """A second person of a role."""
    email = f"second-{role}@example.org"
    async with stack.sessions.begin() as session:
        await people.add_user(session, email=email, name="Second", role=role, password_hash=_hash(PASSWORD))
    client = httpx.AsyncClient(transport=stack.client._transport, base_url=stack.client.base_url)
    answer = await client.post("/api/session", json={"email": email, "password": PASSWORD})
    client.headers["authorization"] = f"Bearer {answer.json()['token']}"
    return client


async def test_one_person_proposes_a_notice_and_another_publishes_it(stack: Stack) -> None:
    first, second = await stack.sign_in(Role.COMPLIANCE), await another(stack, Role.COMPLIANCE)
    draft = (await first.post("/api/registry-drafts", json={"kind": "notice", "content": NOTICE})).json()
    path = f"/api/registry-drafts/{draft['id']}"

    own = await first.post(f"{path}/publish")
    marketer = await stack.client.post(f"{path}/publish")
    published = await second.post(f"{path}/publish")
    again = await second.post(f"{path}/publish")

    assert [own.status_code, marketer.status_code, published.status_code, again.status_code] == [403, 403, 200, 409]
    notices = (await first.get("/api/notices")).json()["items"]
    assert any(each["id"] == published.json()["published_id"] and each["code"] == "newsletter" for each in notices)
    assert draft["mine"] and not (await second.get("/api/registry-drafts")).json()["items"][0]["mine"]


@pytest.mark.parametrize(
    ("kind", "content", "field"),
    [
        ("notice", {**NOTICE, "text": ""}, "content.text"),
        ("notice", {**NOTICE, "colour": "red"}, "content"),
        ("purpose", {"code": "marketing.events"}, "content.controller"),
    ],
)
async def test_a_draft_that_says_too_little_is_refused(
    stack: Stack, kind: str, content: dict[str, Any], field: str
) -> None:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    answer = await compliance.post("/api/registry-drafts", json={"kind": kind, "content": content})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_purpose_is_published_and_a_draft_is_rejected_with_a_reason(stack: Stack) -> None:
    first, second = await stack.sign_in(Role.COMPLIANCE), await another(stack, Role.COMPLIANCE)
    content = {
        "code": "marketing.events",
        "controller": "Acme",
        "description": {"en": "Invitations"},
        "min_grade": "B",
        "validity_days": 365,
        "needs_consent": True,
    }
    drafts = [
        (await first.post("/api/registry-drafts", json={"kind": "purpose", "content": content})).json()["id"]
        for _ in range(2)
    ]
    published = await second.post(f"/api/registry-drafts/{drafts[0]}/publish")
    rejected = await first.post(f"/api/registry-drafts/{drafts[1]}/reject", json={"reason": "sent twice"})

    assert (published.json()["status"], rejected.json()["status"]) == ("published", "rejected")
    purposes = {each["code"] for each in (await first.get("/api/purposes")).json()["items"]}
    assert "marketing.events" in purposes


async def test_who_exported_what_is_on_record_and_found(stack: Stack) -> None:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    made = (await compliance.post("/api/audits", json={"reason": "asked by the authority"})).json()
    await stack.work()
    await compliance.get(f"/api/audits/{made['id']}/download")
    auditor = await stack.sign_in(Role.AUDITOR)

    found = (await auditor.get("/api/audit-log", params={"action": "audit.*"})).json()["items"]
    none = (await auditor.get("/api/audit-log", params={"action": "audit.*", "actor": "nobody"})).json()["items"]
    paged = (await auditor.get("/api/audit-log", params={"limit": 1})).json()
    marketer = await stack.client.get("/api/audit-log")

    assert [each["action"] for each in found] == ["audit.downloaded", "audit.requested"]
    assert found[1]["reason"] == "asked by the authority" and found[0]["object_id"] == made["id"]
    assert none == [] and paged["next"] and marketer.status_code == 403


REQUEST = {"kind": "access", "received_at": "2026-11-01T10:00:00Z", "channel": "email"}


async def test_a_request_has_a_clock_and_is_answered_after_proof_of_identity_only(stack: Stack) -> None:
    await an_import(stack, csv_of([consenting(ANA), consenting("+5511987654321")]))
    compliance = await stack.sign_in(Role.COMPLIANCE)
    ana, brazil = [UUID((await contact_of(stack, phone))["id"]) for phone in (ANA, "+5511987654321")]

    filed = await compliance.post("/api/data-requests", json={**REQUEST, "contact_id": str(ana), "note": f"from {ANA}"})
    other = await compliance.post("/api/data-requests", json={**REQUEST, "contact_id": str(brazil)})
    path = f"/api/data-requests/{filed.json()['id']}"
    early = await compliance.post(f"{path}/close", json={"status": "done", "outcome": "sent"})
    await compliance.post(f"{path}/proof", json={"identity_proof": "code sent back from the account"})
    extended = await compliance.post(f"{path}/extend", json={"reason": "many requests"})
    twice = await compliance.post(f"{path}/extend", json={"reason": "many requests"})
    done = await compliance.post(f"{path}/close", json={"status": "done", "outcome": "sent by letter"})
    late = await compliance.post(f"{path}/close", json={"status": "refused", "outcome": "no"})

    assert (filed.json()["due_at"], other.json()["due_at"]) == ("2026-11-29T10:00:00Z", "2026-11-16T10:00:00Z")
    assert ANA not in filed.text and other.json()["overdue"]
    assert extended.json()["due_at"] == "2027-01-27T10:00:00Z"
    assert [early.status_code, twice.status_code, done.status_code, late.status_code] == [422, 409, 200, 409]
    open_ones = (await compliance.get("/api/data-requests", params={"status": "open"})).json()["items"]
    assert [each["id"] for each in open_ones] == [other.json()["id"]]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"received_at": "2999-01-01T00:00:00Z"}, 422),
        ({"received_at": "2026-11-01T10:00:00"}, 422),
        ({"channel": "pigeon"}, 422),
        ({"contact_id": str(uuid4())}, 404),
        ({"kind": "gossip"}, 400),
    ],
)
async def test_a_request_that_cannot_be_is_refused(stack: Stack, wrong: dict[str, str], status: int) -> None:
    await an_import(stack, csv_of([consenting(ANA)]))
    compliance = await stack.sign_in(Role.COMPLIANCE)
    person = (await contact_of(stack, ANA))["id"]

    answer = await compliance.post("/api/data-requests", json={**REQUEST, "contact_id": person, **wrong})

    assert answer.status_code == status, answer.text


CAMPAIGN_TEAM: dict[str, Callable[[str], tuple[str, str, dict[str, Any]]]] = {
    "evidence": lambda person: ("GET", f"/api/contacts/{person}/evidence?reason=curious", {}),
    "an audit package": lambda _: ("POST", "/api/audits", {"reason": "curious"}),
    "erasure": lambda person: ("DELETE", f"/api/contacts/{person}?reason=curious", {}),
    "a copy of the data": lambda person: ("GET", f"/api/contacts/{person}/access?reason=curious", {}),
    "requests": lambda _: ("GET", "/api/data-requests", {}),
    "a check of the ledger": lambda _: ("POST", "/api/ledger/verify", {}),
}


@pytest.mark.parametrize("what", CAMPAIGN_TEAM)
async def test_the_campaign_team_is_kept_from_what_is_compliances(stack: Stack, what: str) -> None:
    await an_import(stack, csv_of([consenting(ANA)]))
    method, path, content = CAMPAIGN_TEAM[what]((await contact_of(stack, ANA))["id"])

    answer = await stack.client.request(method, path, json=content)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
