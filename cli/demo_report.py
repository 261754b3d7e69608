"""What the demo prints: the review, the moving balance, the funnel, where to look."""

import time
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.api_client import Json
from cli.demo_account import ROLES, DemoAccount
from cli.output import table
from core.settings import Settings
from core.statuses import DeliveryStatus

LINE_EVERY_S = 5.0
# Rates and what they are divided by: an honest figure shows both.
FUNNEL = (
    ("delivery_rate", "Delivered / sent"),
    ("read_rate", "Read / delivered"),
    ("click_rate", "Clicked / delivered"),
    ("reply_rate", "Replied / delivered"),
    ("opt_out_rate", "Opted out / delivered"),
    ("conversion_rate", "Ordered / delivered"),
)
COUNTS = ("targeted", "sent")
METRICS = (*COUNTS, "holdout", *(name for name, _ in FUNNEL), "net_revenue", "cost")


def balance_line(balance: Json) -> str:
    """The balance without its zeros: "sent 12 · delivered 30"."""
    return " · ".join(f"{word} {balance[word]:,}" for word in DeliveryStatus if balance.get(word))


class LiveBalance(AbstractContextManager["LiveBalance"]):
    """A progress bar with the balance below it; on what is no terminal, a line every few seconds."""

    def __init__(self, shown_on: Console) -> None:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._console = shown_on
        self._progress = Progress(*columns, console=shown_on)
        self._bar = self._progress.add_task("", total=None)
        self._live = Live(self._progress, console=shown_on, refresh_per_second=4, transient=True)
        self._said_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, campaign: Json) -> None:
        balance = campaign["balance"]
        done, words = balance["audience"] - balance["queued"] - balance["sending"], balance_line(balance)
        if self._console.is_terminal:
            title = f"{campaign['name']} ({campaign['status']})"
            self._progress.update(self._bar, total=balance["audience"] or None, completed=done, description=title)
            self._live.update(Group(self._progress, Text(f"  {words}")))
        elif balance["audience"] and time.monotonic() - self._said_at > LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(f"  {done:,} of {balance['audience']:,}: {words}")


def show_review(console: Console, review: Json) -> None:
    """Who can be reached, why the others cannot, what it will cost and how long it takes."""
    unreachable = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in sorted(review["unreachable"].items()))
    console.print(
        f"  {review['audience']:,} people, {review['reachable']:,} reachable; not reachable: {unreachable or 'none'}"
    )
    console.print(
        f"  {review['holdout']:,} held out; "
        + ", ".join(f"{v['label']} {v['recipients']:,}" for v in review["variants"])
    )
    cost = review["cost"]
    low, high = (f"{cost[end] / 1e6:,.2f}" for end in ("low_micros", "high_micros"))
    unknown = [market["market"] for market in cost["by_market"] if market["price_micros"] is None]
    console.print(
        f"  cost between {low} and {high} {cost['currency']}"
        + (f" (no price known for {', '.join(unknown)})" if unknown else "")
        + f", done in about {review['duration_s']:,.0f} s"
    )
    for problem in review["problems"]:
        console.print(f"  {problem['severity']}: {problem['message']} ({problem['count']:,})")


def show_funnel(console: Console, rows: list[Json], currency: str) -> None:
    """A column per variant; every rate with its numerator and denominator. People held out have no message."""
    held_out = sum(row["holdout"] for row in rows)
    rows = [row for row in rows if row["targeted"]]
    shown = table("Funnel", *(str(row["variant"]) for row in rows), numbers=len(rows))
    for name in COUNTS:
        shown.add_row(name.capitalize(), *(f"{row[name] or 0:,}" for row in rows))
    for name, label in FUNNEL:
        shown.add_row(label, *(rate(row, name) for row in rows))
    for name, label in (("net_revenue", "Net revenue"), ("cost", "Cost")):
        shown.add_row(f"{label} ({currency})", *(f"{(row[name] or 0) / 1e6:,.2f}" for row in rows))
    console.print(shown)
    console.print(f"  {held_out:,} people were held out at random, to measure what the messages cause")


def rate(row: Json, name: str) -> str:
    """ "75.0 % (6 / 8)"; a dash over nothing."""
    numerator, denominator = row[f"{name}_numerator"], row[f"{name}_denominator"]
    if row[name] is None:
        return f"– ({numerator or 0:,} / {denominator or 0:,})"
    return f"{row[name]:.1%} ({numerator:,} / {denominator:,})"


def show_doors(console: Console, settings: Settings, account: DemoAccount) -> None:
    """Addresses and sign-ins."""
    console.print()
    console.print(f"Dashboard  http://127.0.0.1:{settings.dashboard_port}", style="bold")
    console.print(f"API docs   {settings.own_api_url}/docs")
    console.print(f"Sandbox    http://127.0.0.1:{settings.sandbox_port}/_sandbox/summary")
    shown = table("Sign in as", "Password", "Who may")
    may = {
        "marketer": "import people, build and launch campaigns",
        "analyst": "read every figure",
        "compliance": "see consents and export the audit",
        "admin": "do all of it",
    }
    for role in ROLES:
        shown.add_row(account.email(role), account.passwords[role], may[role])
    console.print(shown)
