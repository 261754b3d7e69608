"""A provider that fell silent costs one message at a time, and one answer ends it."""

from core.statuses import DeliveryStatus
from core.whatsapp.client import Outcome
from worker.reach import FIRST_S, MOST_S, SILENT_AFTER, Reach

ANSWER = Outcome(DeliveryStatus.ACCEPTED, wamid="wamid.1")
REFUSAL = Outcome(DeliveryStatus.FAILED)
SILENCE = Outcome(DeliveryStatus.UNKNOWN)
NO_CONNECTION = Outcome(DeliveryStatus.QUEUED, reached=False)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_silent_after_many_requests_in_a_row_and_not_before() -> None:
    reach = Reach(Clock())

    reach.note([SILENCE] * (SILENT_AFTER - 1))
    assert not reach.is_silent
    reach.note([ANSWER])
    reach.note([SILENCE] * (SILENT_AFTER - 1))
    assert not reach.is_silent
    reach.note([SILENCE])
    assert reach.is_silent


def test_a_connection_that_was_never_made_says_nothing_either_way() -> None:
    reach = Reach(Clock())

    reach.note([NO_CONNECTION] * 2 * SILENT_AFTER)
    assert not reach.is_silent
    reach.note([SILENCE] * SILENT_AFTER)
    reach.note([NO_CONNECTION])
    assert reach.is_silent


def test_tries_are_single_and_further_and_further_apart() -> None:
    clock = Clock()
    reach = Reach(clock)
    reach.note([SILENCE] * SILENT_AFTER)

    tries = []
    for _ in range(600):
        clock.now += 0.1
        if reach.may_try():
            tries.append(round(clock.now - 100, 1))
            reach.note([SILENCE])

    gaps = [round(after - before) for before, after in zip([0.0, *tries], tries, strict=False)]
    assert gaps[0] == FIRST_S and gaps == sorted(gaps)
    assert gaps[-1] == MOST_S and len(tries) < 12


def test_one_answer_ends_it_a_refusal_too() -> None:
    for answer in (ANSWER, REFUSAL):
        reach = Reach(Clock())
        reach.note([SILENCE] * SILENT_AFTER)
        reach.note([answer])
        assert not reach.is_silent
