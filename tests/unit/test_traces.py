"""A person is found in text however their number is written, and others are not."""

import base64
import io
import zipfile
from pathlib import Path

import pytest

from core.traces import Traces, names_person

ANA = Traces.of(numbers=["+5511987654321"], words=["Ana Quirkwood", None, ""])
OPAQUE = base64.b64encode(b"\x1c\x18\r5511987654321\x15").decode()


@pytest.mark.parametrize(
    "text",
    [
        "5511987654321",
        "+55 (11) 98765-4321",
        "call 0055 11 98765 4321 now",
        "551187654321",
        "(11) 98765-4321",
        "+５５１１９８７６５４３２１",
        f'{{"id": "wamid.{OPAQUE}"}}',
        "Dear Ana Quirkwood,",
    ],
)
def test_every_spelling_is_found(text: str) -> None:
    assert ANA.within(text)


@pytest.mark.parametrize(
    "text", ["55119876543210", "15511987654321", "5511987654322", "Ana", "", "wamid.", "wamid.AAAAAAAAA"]
)
def test_others_are_not(text: str) -> None:
    assert not ANA.within(text)


def test_files_and_what_is_packed_in_them_are_searched(tmp_path: Path) -> None:
    plain, packed, binary, other = (tmp_path / name for name in ("a.csv", "a.zip", "a.bin", "b.csv"))
    plain.write_text("name,phone\nx,(11) 98765-4321\n")
    other.write_text("name,phone\nx,+5511987654322\n")
    binary.write_bytes(b"\xff\xfe\x00")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data/a.csv", "5511987654321\n")

    summary = tmp_path / "c.zip"
    with zipfile.ZipFile(summary, "w") as archive:
        archive.writestr("summary.pdf", b"%PDF-1.4 \x93\x8c")
        archive.writestr("data/a.csv", "5511987654322\n")
    book = tmp_path / "d.zip"
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("xl/strings.xml", "<t>+5511987654321</t>")
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("summary.xlsx", inner.getvalue())

    assert not names_person(summary, ANA) and names_person(book, ANA)
    assert names_person(plain, ANA) and names_person(packed, ANA)
    assert names_person(binary, ANA), "what cannot be read may hold anybody"
    assert not names_person(other, ANA)
