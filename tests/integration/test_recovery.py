"""A backup is restored: it is noticed, marketing waits, and what was promised since is kept all the same."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from cli import doctor
from cli.embedded import EmbeddedPostgres, EmbeddedValkey
from core.clock import utc_now
from core.consent import gate
from core.consent.gate import SendRequest
from core.services import people, recovery
from core.statuses import MessageKind, Role, SkipReason
from core.traces import Traces
from tests.conftest import _psql
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import Stack
from tests.integration.test_erasure import WHY, a_package, contact_of, finds
from tests.integration.test_webhooks import body, change, deliver, said
from worker import expanding, recording, sending

ANA, BOB, CAI, DAN = (f"+49170123456{number:02d}" for number in range(4))
REASON = {"reason": "restored last night's backup"}


class Backups:
    """Copies of the test's database, taken and put back by the server itself."""

    def __init__(self, postgres: EmbeddedPostgres, url: str) -> None:
        self.postgres, self.name = postgres, urlsplit(url).path.lstrip("/")

    async def take(self, which: str = "backup") -> None:
        await self._run(f"CREATE DATABASE {self.name}_{which} TEMPLATE {self.name}")

    async def restore(self, which: str = "backup") -> None:
        await self._run(f"DROP DATABASE {self.name}", f"CREATE DATABASE {self.name} TEMPLATE {self.name}_{which}")

    def drop(self) -> None:
        for which in ("backup", "newer"):
            _psql(self.postgres, f"DROP DATABASE IF EXISTS {self.name}_{which}")

    async def _run(self, *statements: str) -> None:
        alone = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        _psql(self.postgres, f"ALTER DATABASE {self.name} CONNECTION LIMIT 0", alone)
        _psql(self.postgres, *statements, f"ALTER DATABASE {self.name} CONNECTION LIMIT -1")
        await asyncio.sleep(0.2)  # the pools hear that their connections are gone


@pytest.fixture
def backups(servers: tuple[EmbeddedPostgres, EmbeddedValkey], own_database: str) -> Any:
    found = Backups(servers[0], own_database)
    yield found
    found.drop()


async def erased(stack: Stack, phone: str) -> None:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    person = (await contact_of(stack, phone))["id"]
    answer = await compliance.delete(f"/api/contacts/{person}", params=WHY)
    assert answer.status_code == 200, answer.text


async def a_campaign_ready(stack: Stack) -> dict[str, Any]:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    await an_import(stack, csv_of([consenting(each, name=f"Quirk{each[-1]}") for each in (ANA, BOB, DAN)]))
    return await a_campaign(stack, sender, template, await an_audience(stack))


async def a_loss(stack: Stack, backups: Backups) -> dict[str, Any]:
    """Since the backup Ana was erased, Bob stopped, Cai came and was erased; then the backup was restored."""
    campaign = await a_campaign_ready(stack)
    await stack.sign_in(Role.COMPLIANCE)
    await recording.sign_checkpoint(stack.ctx)
    await backups.take()
    await erased(stack, ANA)
    await deliver(stack, body(change(messages=[said("STOP", BOB)])))
    await an_import(stack, csv_of([consenting(CAI, name="Cai")]))
    await erased(stack, CAI)
    await stack.settle()
    await recording.sign_checkpoint(stack.ctx)
    await backups.restore()
    return campaign


async def sent_to(stack: Stack) -> list[str]:
    async with stack.sessions() as session:
        query = "SELECT a.value FROM messages m JOIN contact_addresses a USING (contact_id) WHERE m.sent_at IS NOT NULL"
        return sorted(await session.scalars(text(query)))


async def test_a_restored_backup_pauses_marketing_and_recovering_keeps_what_was_promised(
    stack: Stack, backups: Backups
) -> None:
    campaign = await a_loss(stack, backups)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    assert (await contact_of(stack, ANA))["name"] == "Quirk0", "the backup has her again"

    ready = (await stack.client.get("/health/ready")).json()
    await launched(stack, campaign)
    await recording.watch_ledger(stack.ctx)
    await stack.work()
    shown = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    fork = (await compliance.get("/api/ledger/integrity")).json()["fork"]
    stop = {"action": "opt_out", "source_record_id": "x", "occurred_at": "2026-11-22T10:00:00Z", "phone": DAN}
    stopped = await stack.client.post("/api/consents", json={**stop, "phone": "+4917000000099"})

    assert (ready["status"], ready["checks"]["ledger"]) == ("degraded", "restored")
    assert (shown["status"], await sent_to(stack)) == ("paused", [])
    assert "restored backup" in shown["pause_reason"] and "kairan ledger recover" in shown["pause_reason"]
    assert fork["found_size"] < fork["signed_size"]
    assert (stopped.status_code, stopped.json()["state"]) == (201, "withdrawn")

    rehearsal = (await compliance.post("/api/ledger/recover", json=REASON)).json()
    untouched = await contact_of(stack, ANA)
    done = (await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})).json()
    await stack.settle()
    after = (await stack.client.get(f"/api/campaigns/{campaign['id']}")).json()
    assert (after["status"], await sent_to(stack)) == ("paused", []), "what it sent since is queued again"
    assert "queued in it again" in after["pause_reason"]
    await stack.client.post(f"/api/campaigns/{campaign['id']}/resume", json={})
    await stack.settle()

    assert (rehearsal["people"], rehearsal["numbers"], rehearsal["seq"]) == (1, 2, None)
    assert untouched["erased_at"] is None
    assert (done["erased"], done["waiting"]) == (1, []) and done["seq"] is not None
    assert await finds(stack, Traces.of(numbers=[ANA, CAI], words=["Quirk0"])) == []
    assert await sent_to(stack) == [DAN]
    again = await an_import(stack, csv_of([consenting(each, source_record_id=f"n{each}") for each in (ANA, CAI)]))
    assert again["verdicts"] == {"refused_suppressed": 2}
    assert (await compliance.get("/api/ledger/integrity")).json()["fork"] is None
    assert (await stack.client.get("/health/ready")).json()["status"] == "ready"
    assert (await compliance.post("/api/ledger/recover", json=REASON)).status_code == 409
    assert (await a_package(stack, compliance)).verdict == "PASS"
    log = (await compliance.get("/api/audit-log", params={"action": "ledger.recovered"})).json()["items"]
    assert [entry["reason"] for entry in log] == [REASON["reason"]]


async def test_what_was_recovered_is_kept_when_the_same_backup_is_restored_again(
    stack: Stack, backups: Backups
) -> None:
    await a_loss(stack, backups)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})
    await stack.work()

    await backups.restore()
    compliance = await stack.sign_in(Role.COMPLIANCE)
    done = (await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})).json()

    assert (done["people"], done["erased"], done["numbers"]) == (1, 1, 2)
    assert await finds(stack, Traces.of(numbers=[ANA, CAI], words=["Quirk0"])) == []


async def test_the_gate_lets_nothing_through_before_anybody_has_noticed(stack: Stack, backups: Backups) -> None:
    campaign = await a_campaign_ready(stack)
    await launched(stack, campaign)
    while stack.bells.waiting:  # the rows are made, and nothing is sent yet
        bell = stack.bells.waiting.pop(0)
        if bell.job == "expand_campaign":
            await expanding.expand_campaign(stack.ctx, *bell.arguments)
    await backups.take()
    await erased(stack, ANA)
    await recording.sign_checkpoint(stack.ctx)
    await backups.restore()
    ids = [(await contact_of(stack, each))["id"] for each in (ANA, DAN)]
    asked = [SendRequest(each, each, "marketing", MessageKind.CAMPAIGN, "1") for each in ids]
    asked.append(SendRequest(ids[1], ids[1], "service", MessageKind.TRIGGERED, "1"))
    asked.append(SendRequest(ids[1], ids[1], "service", MessageKind.TEST, "1"))

    async with gate.permits(stack.sessions, asked, keyring=stack.parts.keyring) as (allowed, refused):
        found = [(each.reason, each.waits) for each in refused]
    sender = (await stack.client.get("/api/senders")).json()["items"][0]
    await sending.send_messages(stack.ctx, sender["id"])

    assert found == [(SkipReason.LEDGER_MISMATCH, True)] * 3, "what goes by itself may have gone already"
    assert [permit.purpose for permit in allowed] == ["service"], "what a person sends, and needs no consent, goes on"
    async with stack.sessions() as session:
        statuses = list(await session.scalars(text("SELECT DISTINCT status FROM messages")))
    assert (statuses, await sent_to(stack)) == (["queued"], []), "nobody is skipped for good"


async def test_while_somebody_cannot_be_erased_the_ledger_is_not_accepted(stack: Stack, backups: Backups) -> None:
    await a_loss(stack, backups)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    files = {"file": ("people.csv", csv_of([consenting(DAN)]), "text/csv")}
    waiting = await stack.client.post("/api/imports", files=files)
    assert waiting.status_code == 201

    busy = (await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})).json()
    held = (await compliance.get("/api/ledger/integrity")).json()["fork"]
    await stack.work()
    done = (await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})).json()

    assert (busy["erased"], busy["seq"]) == (0, None) and "import is at work" in busy["waiting"][0]
    assert held is not None
    assert (done["erased"], done["waiting"]) == (1, [])


async def test_a_database_that_went_on_after_a_restore_is_noticed_by_its_records(
    stack: Stack, backups: Backups
) -> None:
    await a_loss(stack, backups)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    stop = {"action": "opt_out", "occurred_at": "2026-11-22T10:00:00Z"}
    for number in range(20):  # longer than what was signed, and another ledger all the same
        answer = await stack.client.post(
            "/api/consents", json={**stop, "source_record_id": f"{number}", "phone": f"+49170000000{number:02d}"}
        )
        assert answer.status_code == 201, answer.text

    fork = (await compliance.get("/api/ledger/integrity")).json()["fork"]
    await recording.sign_checkpoint(stack.ctx)

    assert "is not the one of which" in fork["reason"]
    mark = stack.parts.keyring.witness.latest()
    assert mark is not None and mark.size == fork["signed_size"], "a fork is not signed"
    await recording.verify_ledger(stack.ctx)
    check = (await compliance.get("/api/ledger/integrity")).json()["latest"]
    assert not check["passed"] and any("not those that were signed" in finding for finding in check["findings"])


async def test_the_right_database_coming_back_still_refuses_who_stopped_meanwhile(
    stack: Stack, backups: Backups
) -> None:
    held = await an_older_one_restored(stack, backups)
    await deliver(stack, body(change(messages=[said("STOP", BOB)])))
    await recording.watch_ledger(stack.ctx)

    await backups.restore("newer")
    await recording.watch_ledger(stack.ctx)
    lacking = await forked(stack)
    compliance = await stack.sign_in(Role.COMPLIANCE)
    done = (await compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False})).json()
    await recording.watch_ledger(stack.ctx)

    assert held is not None and "restored backup" in held["reason"]
    assert lacking is not None and "refused while it was away" in lacking["reason"]
    assert (done["erased"], done["numbers"]) == (0, 1) and await forked(stack) is None
    again = await an_import(stack, csv_of([consenting(BOB, source_record_id="again")]))
    assert again["verdicts"] == {"refused_suppressed": 1}


async def test_the_right_database_with_nothing_new_beside_it_ends_the_hold(stack: Stack, backups: Backups) -> None:
    held = await an_older_one_restored(stack, backups)

    await backups.restore("newer")
    await recording.watch_ledger(stack.ctx)

    assert held is not None and await forked(stack) is None


async def an_older_one_restored(stack: Stack, backups: Backups) -> dict[str, Any] | None:
    """Ana was erased between the backup that is back and the `newer` one; what is noticed."""
    await a_campaign_ready(stack)
    await recording.sign_checkpoint(stack.ctx)
    await backups.take()
    await erased(stack, ANA)
    await recording.sign_checkpoint(stack.ctx)
    await backups.take("newer")
    await backups.restore()
    await recording.watch_ledger(stack.ctx)
    return await forked(stack)


async def forked(stack: Stack) -> dict[str, Any] | None:
    compliance = await stack.sign_in(Role.COMPLIANCE)
    found: dict[str, Any] | None = (await compliance.get("/api/ledger/integrity")).json()["fork"]
    return found


async def test_many_are_erased_again_some_at_a_time(stack: Stack, backups: Backups) -> None:
    numbers = [f"+4917055555{number:03d}" for number in range(3)]
    await an_import(stack, csv_of([consenting(each) for each in numbers]))
    await recording.sign_checkpoint(stack.ctx)
    await backups.take()
    for each in numbers:
        await erased(stack, each)
    await recording.sign_checkpoint(stack.ctx)
    await backups.restore()

    async def two() -> recovery.Plan:
        return await recovery.recover(
            stack.sessions,
            stack.bells,
            actor=people.SYSTEM,
            reason="restored",
            keyring=stack.parts.keyring,
            settings=stack.settings,
            now=utc_now(),
            most=2,
        )

    first, last = await two(), await two()

    assert (first.erased, first.left, first.seq) == (2, 1, None)
    assert (last.erased, last.left) == (1, 0) and last.seq is not None


async def test_two_who_recover_at_once_do_it_once(stack: Stack, backups: Backups) -> None:
    await a_loss(stack, backups)
    compliance = await stack.sign_in(Role.COMPLIANCE)

    answers = await asyncio.gather(
        *(compliance.post("/api/ledger/recover", json={**REASON, "dry_run": False}) for _ in range(2))
    )
    compliance = await stack.sign_in(Role.COMPLIANCE)

    assert sum(answer.status_code == 200 and answer.json()["seq"] is not None for answer in answers) == 1
    assert (await compliance.get("/api/ledger/integrity")).json()["fork"] is None
    async with stack.sessions() as session:
        said = text("SELECT count(*) FROM consent_events WHERE event_type = 'RECOVERY'")
        assert (await session.execute(said)).scalar_one() == 1


async def test_the_doctor_says_what_to_do(stack: Stack, backups: Backups) -> None:
    healthy = await doctor.ledger(stack.settings.data_dir, stack.settings.database_url)
    await a_loss(stack, backups)

    sick = await doctor.ledger(stack.settings.data_dir, stack.settings.database_url)

    assert (healthy.level, sick.level) == ("ok", "wrong")
    assert "restored backup" in sick.text and "kairan ledger recover" in sick.text


@pytest.mark.parametrize("role", [Role.MARKETER, Role.AUDITOR])
async def test_only_compliance_recovers(stack: Stack, role: Role) -> None:
    client = await stack.sign_in(role)

    assert (await client.post("/api/ledger/recover", json=REASON)).status_code == 403
