"""What a benchmark found: figures beside their targets, tables, and sentences that say what to think of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.table import Table

Side = Literal["at_least", "at_most"]


@dataclass(frozen=True)
class Figure:
    """One measured value; `target` is null where there is none to reach."""

    name: str
    value: float
    unit: str
    target: float | None = None
    side: Side = "at_least"

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; null without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.side == "at_least" else self.value <= self.target


@dataclass(frozen=True)
class Grid:
    """A table of its own, beside the figures; cells are shown as they are."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Report:
    """Everything one run of one benchmark found."""

    benchmark: str
    figures: list[Figure] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """One more figure; at most one of the two targets may be given."""
        side: Side = "at_most" if at_most is not None else "at_least"
        self.figures.append(Figure(name, value, unit, at_most if at_least is None else at_least, side))

    def value(self, name: str) -> float:
        """The value of a figure added before; raises KeyError."""
        for figure in self.figures:
            if figure.name == name:
                return figure.value
        raise KeyError(name)

    def as_json(self) -> str:
        """One line for programs: the benchmark's name and its figures."""
        results = [
            {"figure": each.name, "value": each.value, "unit": each.unit, "target": each.target, "met": each.met}
            for each in self.figures
        ]
        return json.dumps({"benchmark": self.benchmark, "results": results})

    def show(self, out: Console) -> None:
        """The tables and notes for people."""
        table = Table("Figure", title=f"benchmark: {self.benchmark}", title_justify="left")
        table.add_column("Value", justify="right")
        for name in ("Unit", "Target", ""):
            table.add_column(name)
        for figure in self.figures:
            table.add_row(figure.name, shown(figure.value), figure.unit, _target(figure), _verdict(figure))
        out.print(table)
        for grid in self.grids:
            lines = Table(*grid.columns, title=grid.title, title_justify="left")
            for row in grid.rows:
                lines.add_row(*row)
            out.print(lines)
        for note in self.notes:
            out.print(note, markup=False, highlight=False)


def shown(value: float) -> str:
    """A number with as many digits as it deserves."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:,.3f}"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'≥' if figure.side == 'at_least' else '≤'} {shown(figure.target)}"


def _verdict(figure: Figure) -> str:
    return {None: "", True: "[green]met[/]", False: "[red]MISSED[/]"}[figure.met]
