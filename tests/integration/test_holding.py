"""Erasure where the law wants records for a while: everything goes, the proof stays sealed until its day."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import text

from cli import contacts as command
from core import sealing
from core.clock import utc_now
from core.errors import NotFound, RuleViolation, SettingsError
from core.models import Contact
from core.services import holding, integrity, retention
from core.statuses import Role
from core.traces import Traces
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_erasure import WHY, a_package, contact_of, finds

INDIAN, GERMAN, NAME = "+919812345678", "+4915123456789", "Zebedee Quirkwood"


async def written_to(stack: Stack, phone: str) -> str:
    """Somebody who agreed and got a campaign; their id."""
    sender = await a_sender(stack)
    await an_import(stack, csv_of([consenting(phone, name=NAME)]))
    template = await a_template(stack, sender)
    await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await stack.settle()
    return str((await contact_of(stack, phone))["id"])


async def sent_two_months_ago(stack: Stack) -> datetime:
    async with stack.sessions.begin() as session:
        moved = "UPDATE messages SET permitted_at = permitted_at - interval '61 days' RETURNING permitted_at"
        return (await session.execute(text(moved))).scalar_one().replace(tzinfo=UTC)


async def test_scenario_63_an_indian_persons_proof_stays_sealed_for_a_year_and_nothing_else_does(stack: Stack) -> None:
    person = await written_to(stack, INDIAN)
    sent_at = await sent_two_months_ago(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    request = {"contact_id": person, "kind": "erasure", "received_at": "2026-11-20T10:00:00Z", "channel": "letter"}
    asked = (await compliance.post("/api/data-requests", json={**request, "identity_proof": "code"})).json()

    rehearsal = (await compliance.delete(f"/api/contacts/{person}", params={**WHY, "dry_run": True})).json()
    path, given = f"/api/contacts/{person}", {**WHY, "request_id": asked["id"]}
    certificate = (await compliance.delete(path, params=given)).json()

    held = certificate["held"]
    assert held == rehearsal["held"]
    assert datetime.fromisoformat(held["until"]) == sent_at + timedelta(days=365)
    assert (held["evidence"], held["addresses"]) == (1, 1) and "rule 8(3)" in held["rule"]
    closed = (await compliance.get(f"/api/data-requests/{asked['id']}")).json()
    assert closed["facts"]["held"] == held
    assert await finds(stack, Traces.of(numbers=[INDIAN], words=[NAME, "s3://forms"])) == []
    states = (await compliance.get(f"/api/contacts/{person}/consents")).json()["states"]
    assert {state["state"] for state in states} == {"closed"}
    evidence = (await compliance.get(f"/api/contacts/{person}/evidence", params=WHY)).json()
    assert all(entry["evidence"] is None for entry in evidence)
    (stub,) = (await compliance.get("/api/contacts/erased", params={**WHY, "phone": INDIAN})).json()
    assert stub["held"] == held
    found = dict((await a_package(stack, compliance)).wrong)
    assert [finding.partition(": ")[2] for finding in found.pop("sends")] == [
        "was allowed before event 5, which it names"
    ]
    assert found == {}, "nothing but the send that was moved in time for this test"
    async with stack.sessions.begin() as session:
        assert (await integrity.verify(session, stack.parts.keyring)).passed


async def test_what_is_sealed_is_destroyed_on_its_day(stack: Stack) -> None:
    person = await written_to(stack, INDIAN)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.delete(f"/api/contacts/{person}", params=WHY)

    early, due = utc_now() + timedelta(days=364), utc_now() + timedelta(days=366)
    async with stack.sessions.begin() as session:
        before = await holding.destroy_due(session, early)
        left = (await holding.opened(session, UUID(person), stack.parts.keyring.sealing_key())).addresses
    async with stack.sessions.begin() as session:
        done = await retention.purge(session, settings=stack.settings, now=due)
        rows = list(await session.execute(text("SELECT sealed, destroyed_at FROM sealed_records")))
        with pytest.raises(NotFound):
            await holding.opened(session, UUID(person), stack.parts.keyring.sealing_key())

    assert (before, [address.value for address in left]) == (0, [INDIAN])
    assert done["sealed_records"] == 1
    assert [(row.sealed, row.destroyed_at) for row in rows] == [(None, due)]


@pytest.mark.parametrize("phone", [GERMAN, "+5511987654321"])
async def test_where_no_rule_demands_it_nothing_is_sealed(stack: Stack, phone: str) -> None:
    await an_import(stack, csv_of([consenting(phone, name=NAME)]))
    person = (await contact_of(stack, phone))["id"]
    compliance = await stack.sign_in(Role.COMPLIANCE)

    certificate = (await compliance.delete(f"/api/contacts/{person}", params=WHY)).json()

    assert certificate["held"] is None and "sealed_evidence" not in certificate["kept"]


async def test_only_the_operators_key_opens_it_and_that_is_on_record(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    officer, stranger = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    public, private, wrong = (tmp_path / name for name in ("officer.pub.pem", "officer.pem", "wrong.pem"))
    public.write_bytes(officer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for path, key in ((private, officer), (wrong, stranger)):
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = stack.settings.model_copy(update={"erase_hold_key": public})
    await an_import(stack, csv_of([consenting(INDIAN, name=NAME)]))
    person = UUID((await contact_of(stack, INDIAN))["id"])
    async with stack.sessions.begin() as session:
        contact = await session.get_one(Contact, person)
        until = await holding.due(session, contact, settings=settings, now=utc_now())
        assert until is not None
        await holding.hold(session, contact, until, keyring=stack.parts.keyring, settings=settings, now=utc_now())

    with pytest.raises(RuleViolation, match="--key"):
        await command.unseal(settings, person, "court order", None)
    with pytest.raises(RuleViolation, match="does not open"):
        await command.unseal(settings, person, "court order", wrong)
    await command.unseal(settings, person, "court order", private)

    out = capsys.readouterr().out
    shown = json.loads(out[out.index("{\n") :])  # behind what was logged
    assert shown["addresses"] == [{"kind": "phone", "value": INDIAN}] and len(shown["evidence"]) == 1
    auditor = await stack.sign_in(Role.AUDITOR)
    log = (await auditor.get("/api/audit-log", params={"action": "contact.unsealed"})).json()["items"]
    assert [(entry["object_id"], entry["reason"]) for entry in log] == [(str(person), "court order")]


def test_what_was_sealed_about_one_person_does_not_open_as_anothers() -> None:
    key = X25519PrivateKey.generate()
    sealed = sealing.seal(b"proof", key.public_key(), b"one")

    assert sealing.unseal(sealed, key, b"one") == b"proof"
    with pytest.raises(RuleViolation):
        sealing.unseal(sealed, key, b"another")
    assert sealed != sealing.seal(b"proof", key.public_key(), b"one")


def test_a_wrong_key_is_refused_in_words(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "none.pem"
    path.write_text("nonsense")

    with pytest.raises(SettingsError, match="KAIRAN_ERASE_HOLD_KEY"):
        holding.key_of(stack.settings.model_copy(update={"erase_hold_key": path}), stack.parts.keyring)
