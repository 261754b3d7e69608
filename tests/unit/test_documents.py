"""What the documents say is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_situations_name_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "consent-situations.md").read_text())
    written = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }

    assert len(named) > 50
    assert [name for name in named if name not in written] == []


def test_every_picture_and_page_a_document_points_at_is_there() -> None:
    pointed_at = [
        (document, target)
        for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
        if not target.startswith(("http://", "https://"))
    ]

    assert len(pointed_at) > 10
    assert [str(target) for document, target in pointed_at if not (document.parent / target).exists()] == []
