"""What a benchmark prints, and how its figures are taken from the provider's log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import BENCHMARKS, read_arguments
from benchmarks.provider import fullest_window, per_second
from benchmarks.report import Report


def test_a_report_is_one_json_line_with_targets_met_or_not() -> None:
    report = Report("send")
    report.add("pace", 1200.0, "1/s", at_least=1000)
    report.add("lost", 1, "messages", at_most=0)
    report.add("memory", 80.5, "MiB")

    found = json.loads(report.as_json())

    assert found["benchmark"] == "send"
    assert [(each["figure"], each["target"], each["met"]) for each in found["results"]] == [
        ("pace", 1000, True),
        ("lost", 0, False),
        ("memory", None, None),
    ]


def test_a_window_is_half_open_and_may_start_anywhere() -> None:
    assert fullest_window([0.0, 0.5, 0.999, 1.0, 1.4]) == 4
    assert fullest_window([0.0, 1.0, 2.0]) == 1
    assert fullest_window([]) == 0


@given(st.lists(st.integers(0, 5000), max_size=60))
def test_no_window_is_fuller_than_the_fullest(milliseconds: list[int]) -> None:
    instants = sorted(each / 1000 for each in milliseconds)

    counted = [sum(start <= at < start + 1.0 for at in instants) for start in instants]

    assert fullest_window(instants) == max(counted, default=0)


def test_a_pace_needs_two_instants() -> None:
    assert per_second([10.0]) == 0.0
    assert per_second([10.0, 10.5, 11.0]) == 2.0


def test_sizes_and_flags_are_read() -> None:
    given_ = read_arguments(["crash", "3", "500", "--seed", "9", "--json"])

    assert (given_.name, given_.sizes, given_.seed, given_.json, given_.write) == ("crash", [3, 500], 9, True, False)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["send", "many"]])
def test_what_cannot_be_run_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        read_arguments(arguments)

    assert refused.value.code == 2
    assert "benchmarks" in capsys.readouterr().err


def test_every_benchmark_says_what_it_measures() -> None:
    assert {"send", "expand", "pause", "throttle", "growth", "crash"} <= set(BENCHMARKS)
    assert all(each.measures and each.sizes and each.minutes for each in BENCHMARKS.values())
