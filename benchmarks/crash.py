"""`crash`: kill a part in mid-campaign, again and again, and compare with the provider's own log.

A round sends a campaign to the same people. At a random moment one part dies by `kill -9`, or Valkey is emptied, or
the provider stops answering; after a random delay it is started again. When the campaign has settled, every recipient
must be accounted for: accepted exactly once by the provider, or failed, unknown, skipped or cancelled here. The
provider keeps its log in memory, so it is stopped and continued instead of killed: requests time out meanwhile.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import redis

from benchmarks import office as setting
from benchmarks.harness import Stack, running
from benchmarks.judgement import Verdict, judge
from benchmarks.machine import describe
from benchmarks.office import Json, Office
from benchmarks.people import seed
from benchmarks.provider import Provider, provider
from benchmarks.report import Grid, Report
from core.settings import ROOT

LIMIT = 1000
ROUNDS, RECIPIENTS = 50, 5000
PARTS = ("worker", "worker", "worker", "worker", "worker", "api", "postgres", "valkey", "flushall", "provider")
NOTHING = "nothing"  # of the undisturbed round
LONGEST_DELAY_S = 5.0
SETTLED_WITHIN_S = 240.0  # a lease of 20 s, the sweep, and the simulator's repeated webhooks
PAGE = ROOT / "docs" / "crash-proof.md"
TABLE_BEGINS, TABLE_ENDS = "<!-- rounds -->", "<!-- end of rounds -->"
COLUMNS = (
    *("round", "killed", "at s", "away s", "settled s", "accepted", "failed", "skipped", "unknown"),
    *("settled by webhook", "duplicates", "lost", "balance"),
)


@dataclass(frozen=True)
class Round:
    """One round: what was done to which part, and what came of it."""

    number: int
    part: str
    at_s: float  # after the launch
    away_s: float
    settled_s: float  # after the launch
    verdict: Verdict

    def cells(self) -> tuple[str, ...]:
        found = self.verdict
        return (
            *(str(self.number), self.part, f"{self.at_s:.1f}", f"{self.away_s:.1f}", f"{self.settled_s:.0f}"),
            *(str(found.accepted), str(found.failed), str(found.skipped), str(found.unknown)),
            *(str(found.settled_by_webhook), str(found.duplicates), str(found.lost)),
            "yes" if found.balances else "NO",
        )


async def crash(sizes: list[int], *, chance_seed: int, write: bool) -> Report:
    """`crash [ROUNDS [RECIPIENTS]]`: 50 rounds of 5,000 unless told; the first campaign goes undisturbed."""
    count = sizes[0] if sizes else ROUNDS
    recipients = sizes[1] if len(sizes) > 1 else RECIPIENTS
    chance = random.Random(chance_seed)
    machine = describe()
    async with running(throughputs=(LIMIT,)) as stack:
        await seed(stack, recipients)
        async with setting.office(stack) as office, provider(stack) as log:
            sender = await office.sender(LIMIT)
            plan = Plan(office, log, sender, await office.template(sender), await office.audience())
            calm = await disturbed_round(stack, plan, 0, NOTHING, at_s=0.0, away_s=0.0)
            rounds = [calm]
            for number in range(1, count + 1):
                part = chance.choice(PARTS)
                at_s, away_s = chance.uniform(0.0, 1.0) * calm.settled_s, chance.uniform(0.2, LONGEST_DELAY_S)
                rounds.append(await disturbed_round(stack, plan, number, part, at_s=at_s, away_s=away_s))
    report = _report(rounds, recipients, chance_seed)
    if write:
        _write(rounds, report, f"{machine}; seed {chance_seed}")
    return report


@dataclass(frozen=True)
class Plan:
    """What every round sends, and through whom it is asked for and seen."""

    office: Office
    log: Provider
    sender: Json
    template: Json
    audience: Json


async def disturbed_round(stack: Stack, plan: Plan, number: int, part: str, *, at_s: float, away_s: float) -> Round:
    """One campaign to everybody; `part` dies `at_s` after the launch and stays away for `away_s`."""
    log = plan.log
    await stack.until_up()
    campaign = await plan.office.campaign(plan.sender, plan.template, plan.audience)
    before = await log.accepted()
    await plan.office.launch(campaign)
    began = time.monotonic()
    await asyncio.sleep(at_s)
    await _disturb(stack, part, away_s)
    with suppress(TimeoutError):  # what is still open then counts as lost
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await _until_settled(stack, log, UUID(campaign["id"]))
    settled_s = time.monotonic() - began
    async with stack.database() as database:
        rows = await database.fetch(
            "SELECT id, status, accepted_at, error FROM messages WHERE campaign_id = $1", UUID(campaign["id"])
        )
        audience = await database.fetchval("SELECT count(*) FROM contacts")
    accepted = await log.accepted(before[-1].sequence if before else -1)
    return Round(number, part, at_s, away_s, settled_s, judge(rows, accepted, audience))


async def _disturb(stack: Stack, part: str, away_s: float) -> None:
    """Take the part away for a while."""
    if part == NOTHING:
        return
    if part == "flushall":
        with redis.Redis(unix_socket_path=str(stack.valkey.socket)) as client:
            client.flushall()
        return
    if part == "provider":
        sandbox = stack.pids()["sandbox"]
        os.kill(sandbox, signal.SIGSTOP)
        try:
            await asyncio.sleep(away_s + LONGEST_DELAY_S)  # longer than a request waits
        finally:
            os.kill(sandbox, signal.SIGCONT)
        return
    stack.kill(part)
    await asyncio.sleep(away_s)
    stack.start_again(part)


async def _until_settled(stack: Stack, log: Provider, campaign_id: UUID) -> None:
    """No row queued or sending, nothing on its way to us, and everything that came recorded.

    A part may have just died, so a connection that breaks is made again.
    """
    open_rows = """
        SELECT (SELECT status FROM campaigns WHERE id = $1) <> 'sending'
            OR EXISTS (SELECT FROM messages WHERE campaign_id = $1 AND phase IN ('queued', 'sending'))
            OR EXISTS (SELECT FROM webhook_events WHERE status = 'waiting')
    """
    calm = 0
    while calm < 3:  # three looks in a row: between a webhook's arrival and its row there is a moment
        stack.revive()
        async with stack.database() as database:
            busy = await database.fetchval(open_rows, campaign_id) or not (await log.summary())["settled"]
        calm = 0 if busy else calm + 1
        await asyncio.sleep(0.5)


def _report(rounds: list[Round], recipients: int, chance_seed: int) -> Report:
    report = Report("crash")
    disturbed = [each for each in rounds if each.number]
    verdicts = [each.verdict for each in rounds]
    report.add("rounds with a part killed", len(disturbed), "rounds")
    report.add("recipients a round", recipients, "people")
    report.add("undisturbed campaign (floor)", rounds[0].settled_s, "s")
    report.add("slowest round", max((each.settled_s for each in disturbed), default=0.0), "s")
    report.add("accepted by the provider", sum(each.accepted for each in verdicts), "messages")
    report.add("sent twice", sum(each.duplicates for each in verdicts), "messages", at_most=0)
    report.add("lost silently", sum(each.lost for each in verdicts), "messages", at_most=0)
    report.add("balance is not the audience", sum(not each.balances for each in verdicts), "rounds", at_most=0)
    report.add("accepted, but recorded as not sent", sum(each.wrong for each in verdicts), "messages", at_most=0)
    report.add("unknown at the end", sum(each.unknown for each in verdicts), "messages")
    report.add("unknown though accepted", sum(each.unknown_though_accepted for each in verdicts), "messages", at_most=0)
    report.add("settled by the status webhook alone", sum(each.settled_by_webhook for each in verdicts), "messages")
    resent = sum(each.unknown + each.settled_by_webhook for each in verdicts)
    report.add("would be in doubt or repeated by a resend (alternative)", resent, "messages")
    report.grids.append(Grid("Rounds", COLUMNS, [each.cells() for each in rounds]))
    killed = Counter(each.part for each in disturbed)
    report.notes.append(f"seed {chance_seed}; killed: {', '.join(f'{part} {n}' for part, n in killed.most_common())}")
    reasons = sum((each.verdict.unknown_reasons for each in rounds), Counter[str]())
    report.notes += [f"unknown: {n} because {reason}" for reason, n in reasons.most_common()]
    return report


def _write(rounds: list[Round], report: Report, machine: str) -> None:
    """Put the newest table into the page."""
    lines = [f"Machine: {machine}.", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(each.cells()) + " |" for each in rounds]
    lines += ["", *(f"- {each.name}: {each.value:,.0f} {each.unit}" for each in report.figures)]
    lines += [f"- {note}" for note in report.notes]
    text = Path(PAGE).read_text()
    head, _, rest = text.partition(TABLE_BEGINS)
    _, _, tail = rest.partition(TABLE_ENDS)
    PAGE.write_text(f"{head}{TABLE_BEGINS}\n" + "\n".join(lines) + f"\n{TABLE_ENDS}{tail}")
