"""What commands say: results go to stdout, everything on the way there to stderr."""

import sys
from functools import cache

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH_OF_FILES = 120  # a table in a log needs no terminal's width


def say(line: str) -> None:
    """One line about what is going on."""
    print(line, file=sys.stderr, flush=True)


@cache
def console(*, stderr: bool = False) -> Console:
    """The terminal as rich sees it: colours and moving bars only when it is one."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if is_terminal else WIDTH_OF_FILES)


def table(*headings: str, numbers: int = 0) -> Table:
    """An empty table; the last `numbers` columns are aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, heading in enumerate(headings):
        made.add_column(heading, justify="right" if position >= len(headings) - numbers else "left")
    return made


def interactive() -> bool:
    """True when somebody sits there to be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def size(number: int) -> str:
    """Bytes for people: 1,234 B, 5.6 MB."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= 10 * step:
            return f"{number / step:,.1f} {unit}"
    return f"{number:,} B"
