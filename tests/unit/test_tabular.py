"""Tables people upload: read as they were meant, or refused with the row and what to do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import tabular
from core.errors import RuleViolation
from core.export_text import harmless


def read(folder: Path, content: bytes) -> list[dict[str, str]]:
    path = folder / "upload"
    path.write_bytes(content)
    form = tabular.detect(path)
    return [cells for _, cells in tabular.rows(path, form)]


def test_delimiters_are_found_outside_quotes(tmp_path: Path) -> None:
    for mark in ",;\t|":
        assert read(tmp_path, f'phone{mark}"a,b;c"\n1{mark}x\n'.encode()) == [{"phone": "1", "a,b;c": "x"}]
    assert read(tmp_path, b"phone\n1\n\n2\n") == [{"phone": "1"}, {"phone": "2"}]


def test_a_header_that_starts_like_a_package_is_text(tmp_path: Path) -> None:
    assert read(tmp_path, b"PK,phone\n7,1\n") == [{"PK": "7", "phone": "1"}]


def test_cells_beyond_the_header_are_not_lost_unseen(tmp_path: Path) -> None:
    short, long, blank = read(tmp_path, b"a,b\n1\n1,2,3,4\n1,2,,\n")
    assert (short, blank) == ({"a": "1"}, {"a": "1", "b": "2"})
    assert long == {"a": "1", "b": "2", tabular.SURPLUS: "3 4"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'a,b\n1,"2\n3,4\n', "row 2 cannot be read"),
        (b'a,b\n1,"2" 3\n', "row 2 cannot be read"),
        (b"a\n" + b"x" * 100_001, "row 2 cannot be read"),
        (b",,\n1,2,3\n", "names no columns"),
        (b"Name,name\n", "is there twice"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_row(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(RuleViolation) as refused:
        read(tmp_path, content)
    assert words in refused.value.message


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    try:
        read(tmp_path_factory.getbasetemp(), content)
    except RuleViolation as refused:
        assert refused.message and "\n" not in refused.message


@given(st.text(max_size=20))
def test_no_exported_cell_is_a_formula(cell: str) -> None:
    written = harmless(cell)
    assert written.lstrip("'") == cell.lstrip("'")
    assert written[:1] not in tuple("=-@\t\r") and (written[:1] != "+" or written[1:].isdigit())
