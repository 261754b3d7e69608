"""`kairan audit verify`: the check an outsider makes, by the same program that lies in every package."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from core.consent.verify import verify
from core.errors import RuleViolation


def accepts(
    package: Path, *, fingerprint: str | None, checkpoint: Path | None = None, say: Callable[[str], None]
) -> bool:
    """Check a package and say what each check found; True when nothing is wrong. Raises RuleViolation if it is none.

    `fingerprint` of the signing key and `checkpoint`, a signed note, were learned by another way than the package.
    """
    try:
        report = verify(package, fingerprint, checkpoint.read_text() if checkpoint else None)
    except (zipfile.BadZipFile, KeyError, ValueError) as damaged:
        raise RuleViolation(f"{package} is no audit package of Kairan: {damaged}") from damaged
    for line in report.lines():
        say(line)
    return bool(report.verdict == "PASS")


def run(package: Path, *, fingerprint: str | None, checkpoint: Path | None) -> int:
    """0 for a package in which nothing was changed, 1 otherwise."""
    return 0 if accepts(package, fingerprint=fingerprint, checkpoint=checkpoint, say=print) else 1
