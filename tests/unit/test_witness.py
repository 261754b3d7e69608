"""What is remembered outside the database only grows, survives a crash, and is noticed when it is damaged."""

from pathlib import Path

import pytest

from core.errors import SettingsError
from core.witness import Line, Mark, Witness

MARK = Mark(10, "ab" * 32, "cd" * 32, "kairan/x", "note", "2026-11-22T10:00:00.000000Z")
LATER = Mark(12, "ef" * 32, "01" * 32, "kairan/x", "note", "2026-11-22T10:05:00.000000Z")


def line(seq: int) -> Line:
    return Line("refused", seq, f"{seq:064x}", "2026-11-22T10:00:00.000000Z", "stop_word", "marketing.*", (("ref", 1),))


def test_a_mark_only_goes_forward_and_every_process_sees_it(tmp_path: Path) -> None:
    ours, others = Witness(tmp_path), Witness(tmp_path)
    assert ours.latest() is None

    assert ours.advance(LATER)
    assert not others.advance(MARK)
    assert others.latest() == LATER
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())


def test_an_accepted_ledger_may_be_shorter_and_the_mark_before_is_kept(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.advance(LATER)

    kept = witness.accept(MARK)

    assert witness.latest() == MARK
    assert kept is not None and LATER.root in kept.read_text()


def test_half_a_line_of_a_crash_hides_no_other_line(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.append([line(1)])
    with (tmp_path / "refusals.jsonl").open("ab") as journal:
        journal.write(b'{"kind":"refused","seq":2,"le')

    witness.append([line(2), line(3)])
    witness.append([line(3)])

    assert [each.seq for each in witness.lines()] == [1, 2, 3]


def test_a_damaged_mark_is_refused_instead_of_forgotten(tmp_path: Path) -> None:
    Witness(tmp_path).advance(MARK)
    (tmp_path / "witness.json").write_text("{}")

    with pytest.raises(SettingsError, match="damaged"):
        Witness(tmp_path).latest()


def test_a_record_that_refuses_two_addresses_is_two_lines(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    first, second = line(1), Line("refused", 1, f"{1:064x}", line(1).at, "stop_word", "marketing.*", (("other", 1),))

    witness.append([first, second])
    witness.append([first])

    assert list(witness.lines()) == [first, second]


def test_there_is_a_mark_even_when_accepting_another_fails(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.advance(LATER)
    (tmp_path / "witness.json.new").mkdir()  # nothing can be written there

    with pytest.raises(OSError):
        witness.accept(MARK)

    assert Witness(tmp_path).latest() == LATER
