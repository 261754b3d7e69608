"""`kairan demo`: a real campaign through every part of the product, on a simulated WhatsApp.

What is shown happens through the product's own interfaces: HTTP API, worker and webhooks. Only the four users
are added directly, with the service behind `kairan users add`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from rich.console import Console
from sqlalchemy import select

from cli import audits, demo_report, demo_steps, imports, lake, verifying
from cli.api_client import Json
from cli.database import sessions
from cli.demo_account import ROLES, DemoAccount
from cli.demo_data import make_file
from cli.demo_sandbox import Evidence, SandboxLog, is_settled, weigh
from cli.demo_shop import Shop
from cli.demo_steps import Team
from cli.lock import DataDirLock
from cli.output import console
from cli.people import create_user
from cli.stack import Stack
from cli.stack import run as run_stack
from core.errors import AppError, SettingsError, Unavailable
from core.models import User
from core.settings import Settings

POLL_S = 0.5
CAMPAIGN_TIMEOUT_S = 600.0
AGREE_TIMEOUT_S = 30.0
PROVIDER_WORDS = ("delivered", "read", "failed")


@dataclass
class Demo:
    """One run: what it knows and what it found. It is `ok` when every step was done and every check holds."""

    settings: Settings
    account: DemoAccount
    messages: int
    out: Console
    seconds: dict[str, float] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def stage(self, name: str, title: str) -> AsyncIterator[None]:
        """Say what begins, and keep how long it took."""
        self.out.print(f"[bold]{title}[/]")
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    def check(self, name: str, holds: bool) -> None:
        self.checks[name] = holds

    @property
    def ok(self) -> bool:
        return "total" in self.seconds and all(self.checks.values())

    async def run(self) -> None:
        """All steps in order; raises AppError when one cannot be done."""
        await self._add_users()
        self.account.runs += 1
        self.account.save(self.settings.data_dir)
        team = await Team.sign_in(self.settings, self.account)
        try:
            async with SandboxLog(self.settings.whatsapp_url) as log:
                await self._run_as(team, log)
        finally:
            await team.aclose()

    async def _add_users(self) -> None:
        async with sessions(self.settings) as open_session, open_session.begin() as session:
            known = set(await session.scalars(select(User.email)))
            if known - {self.account.email(role) for role in ROLES} and not self.account.runs:
                raise SettingsError(
                    "the database holds an installation already: let KAIRAN_DATABASE_URL lead to another"
                )
            for role in ROLES:
                email = self.account.email(role)
                if email not in known:
                    await create_user(session, email, role.value.capitalize(), role, self.account.passwords[role])

    async def _run_as(self, team: Team, log: SandboxLog) -> None:
        run = self.account.runs
        async with self.stage("import", "Importing people"):
            sender = await demo_steps.sender(team)
            await demo_steps.rate_card(team, self.settings.currency)
            imported, opted_out = await self._import(team)
        async with self.stage("templates", "Two templates, to be approved by (simulated) Meta"):
            approved = await demo_steps.templates(team, sender["id"], run, self.settings.links_url)
            self.out.print("  " + ", ".join(f"{each['name']} is {each['status']}" for each in approved))
        async with self.stage("review", "Reviewing the campaign"):
            audience = await demo_steps.audience(team, imported["id"], run)
            campaign = await demo_steps.campaign(team, sender["id"], audience["id"], approved, run)
            review = await team.marketer.post(f"/api/campaigns/{campaign['id']}/review")
            demo_report.show_review(self.out, review)
        async with self.stage("campaign", "Sending, and people answering"):
            await demo_steps.launch(team, campaign["id"], review)
            shop = Shop(log, team.admin, currency=self.settings.currency, run=run)
            campaign = await self._watch(team, log, shop, campaign["id"])
        async with self.stage("lake", "Refreshing the analytics"):
            await self._figures(team, campaign)
        async with self.stage("audit", "Exporting the consent audit, and verifying it offline"):
            await self._audit(team, campaign["id"])
        async with self.stage("checks", "Comparing with the simulator's own log"):
            await self._compare(log, campaign, opted_out)
        self.found |= {"orders": shop.orders, "refunds": shop.refunds, "conversions": shop.recorded}

    async def _import(self, team: Team) -> tuple[Json, frozenset[str]]:
        notice = await demo_steps.notice_id(team)
        file = make_file(self.messages, began_on=date.fromisoformat(self.account.began_on), notice_id=notice)
        work = await self._followed(team, await demo_steps.start_import(team, file))
        if work["status"] == "awaiting":
            work, opened = await demo_steps.approve_import(team, work)
            many = f"{work['claims']['opt_ins']:,} opt-ins, so a second person opened {opened} of their proofs"
            self.out.print(f"  {many} and approved the file")
            work = await self._followed(team, work)
        imports.show_verdicts(work, self.out)
        self.found["import"] = {"rows": work["rows_total"], "verdicts": work["verdicts"]}
        self.check("import_balances", imports.balances(work) and work["rows_total"] == file.rows)
        return work, file.opted_out

    async def _followed(self, team: Team, work: Json) -> Json:
        with imports.bar() as progress:
            shown = progress.add_task(f"  {work['filename']}", total=None)
            return await imports.follow(
                team.marketer, work, lambda done, total: progress.update(shown, completed=done, total=total)
            )

    async def _watch(self, team: Team, log: SandboxLog, shop: Shop, campaign_id: str) -> Json:
        """Follow the campaign, keep the shop open, until nothing is left to happen and both sides agree."""
        deadline = time.monotonic() + CAMPAIGN_TIMEOUT_S
        settled_at: float | None = None
        with demo_report.LiveBalance(self.out) as live:
            while True:
                campaign = await team.marketer.get(f"/api/campaigns/{campaign_id}")
                live.show(campaign)
                await shop.open_a_while()
                summary = await log.summary()
                if campaign["status"] == "completed" and is_settled(summary):
                    settled_at = settled_at or time.monotonic()
                    agree = _agree(campaign["balance"], summary["template_outcomes"])
                    if agree or time.monotonic() - settled_at > AGREE_TIMEOUT_S:
                        await shop.open_a_while()
                        self.check("statuses_agree_with_provider", agree)
                        break
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the campaign has not settled after {CAMPAIGN_TIMEOUT_S:.0f} s: {_why(campaign)}"
                    )
                await asyncio.sleep(POLL_S)
        self.out.print(f"  {demo_report.balance_line(campaign['balance'])}")
        self.out.print(f"  {len(shop.visitors):,} people visited the shop and made {shop.orders:,} orders")
        return campaign

    async def _figures(self, team: Team, campaign: Json) -> None:
        await lake.refresh(team.analyst)
        names = ",".join(demo_report.METRICS)
        answer = await team.analyst.get("/api/metrics", names=names, by="variant", campaign=campaign["id"])
        labels = {variant["id"]: variant["label"] for variant in campaign["variants"]} | {None: "held out"}
        rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
        rows = [row | {"variant": labels[row["variant"]]} for row in rows]
        demo_report.show_funnel(self.out, rows, self.settings.currency)
        self.found["variants"] = rows
        self.found["lake_version"] = answer["lake_version"]

    async def _audit(self, team: Team, campaign_id: str) -> None:
        audit = await audits.make(team.compliance, {"reason": "Demonstration", "campaign_id": campaign_id})
        if audit["needs_approval"]:  # many people: a second person shares the decision
            audit = await team.admin.post(f"/api/audits/{audit['id']}/approve")
        package = self.settings.data_dir / f"consent-audit-{self.account.runs}.zip"
        await audits.save(team.compliance, audit, package)
        fingerprint = (await team.compliance.get("/api/ledger"))["fingerprint"]
        accepted = verifying.accepts(
            package, fingerprint=fingerprint, say=lambda line: self.out.print(f"  {line}", markup=False)
        )
        self.found["audit"] = {"package": str(package), "verified": accepted, "facts": audit["facts"]}
        self.check("audit_verifies", accepted)

    async def _compare(self, log: SandboxLog, campaign: Json, opted_out: frozenset[str]) -> None:
        before = opted_out | frozenset(self.account.stopped)
        evidence = weigh(await log.messages(), await log.inbound(), await log.summary(), opted_out_before=before)
        self._judge(evidence, campaign["balance"])
        self.account.stopped = sorted({*self.account.stopped, *evidence.stopped})
        self.account.save(self.settings.data_dir)
        self.found["campaign_id"] = campaign["id"]

    def _judge(self, evidence: Evidence, balance: Json) -> None:
        counts = {word: balance[word] for word in balance if word != "audience"}
        self.found |= {"audience": balance["audience"], "messages": counts, "accepted_by_provider": evidence.accepted}
        self.found |= {"duplicates_sent": evidence.duplicates_sent, "messages_to_opted_out": evidence.to_opted_out}
        self.found["stopped_by_people"] = len(evidence.stopped)
        self.check("nobody_got_it_twice", evidence.duplicates_sent == 0)
        self.check("nobody_opted_out_got_it", evidence.to_opted_out == 0)
        self.check("balance_equals_audience", sum(counts.values()) == balance["audience"] > 0)
        went = sum(counts[word] for word in ("accepted", "held", "sent", "delivered", "read", "unknown"))
        self.check("every_message_is_accounted_for", went <= evidence.accepted <= went + counts["failed"])
        for name, holds in self.checks.items():
            mark = "[green]yes[/]" if holds else "[red]NO[/]"
            self.out.print(f"  {name.replace('_', ' ')}: {mark}")

    def summary(self) -> Json:
        """The run for programs."""
        return {"ok": self.ok, "run": self.account.runs, **self.found, "checks": self.checks, "seconds": self.seconds}


def _agree(balance: Json, outcomes: Json) -> bool:
    """The product counts what the provider said; requests refused at once are failed here and unknown there."""
    return all(balance[word] >= outcomes.get(word, 0) for word in PROVIDER_WORDS) and all(
        balance[word] == outcomes.get(word, 0) for word in ("delivered", "read")
    )


def _why(campaign: Json) -> str:
    waiting = campaign.get("waiting") or {}
    return str(waiting.get("detail") or waiting.get("reason") or demo_report.balance_line(campaign["balance"]))


async def run(
    settings: Settings, account: DemoAccount, lock: DataDirLock, *, messages: int, leave: bool, as_json: bool
) -> int:
    """Run the demo on a place taken; 0 when every check holds, 1 when one does not."""
    out = console(stderr=as_json)
    demo = Demo(settings, account, messages, out)
    began = time.monotonic()

    async def work() -> int:
        demo.seconds["start"] = round(time.monotonic() - began, 2)
        await demo.run()
        demo.seconds["total"] = round(time.monotonic() - began, 2)
        demo_report.show_doors(out, settings, account)
        if not leave:
            out.print("Ctrl-C stops everything; kairan up --sandbox shows it again.")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return 0 if demo.ok else 1

    out.print("[bold]Starting PostgreSQL, Valkey, sandbox, API, worker and dashboard[/]")
    try:
        return await run_stack(Stack(settings, lock, with_sandbox=True), work)
    except AppError as refused:
        demo.found["error"] = refused.message
        raise
    finally:
        if as_json:
            print(json.dumps(demo.summary(), default=str))
