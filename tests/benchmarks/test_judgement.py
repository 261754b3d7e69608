"""A campaign judged against the provider's log: what counts as lost, doubled or in doubt."""

from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.judgement import judge
from benchmarks.provider import Accepted

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def a_row(number: int, status: str, *, accepted: bool = True, error: str | None = None) -> dict[str, Any]:
    return {"id": f"m{number}", "status": status, "accepted_at": NOW if accepted else None, "error": error}


def a_send(number: int, *, to: int | None = None, reports: int = 1) -> Accepted:
    person = number if to is None else to
    return Accepted(sequence=number, at=0.0, label=f"m{number}", to=f"+{person}", number="1", reports=reports)


def test_a_campaign_in_which_everybody_is_accounted_for() -> None:
    rows = [a_row(1, "delivered"), a_row(2, "failed"), a_row(3, "skipped"), a_row(4, "unknown", accepted=False)]

    found = judge(rows, [a_send(1)], audience=4)

    assert (found.accepted, found.failed, found.skipped, found.unknown) == (1, 1, 1, 1)
    assert (found.duplicates, found.lost, found.wrong, found.balances) == (0, 0, 0, True)


def test_a_message_we_call_delivered_and_the_provider_never_had_is_lost() -> None:
    assert judge([a_row(1, "delivered")], [], audience=1).lost == 1


@pytest.mark.parametrize("word", ["queued", "sending"])
def test_what_is_still_open_at_the_end_is_lost_and_does_not_balance(word: str) -> None:
    found = judge([a_row(1, word, accepted=False)], [], audience=1)

    assert (found.lost, found.balances) == (1, False)


def test_a_message_the_provider_has_and_we_have_no_row_for_is_lost() -> None:
    assert judge([], [a_send(1)], audience=0).lost == 1


def test_a_person_without_a_row_breaks_the_balance() -> None:
    assert not judge([a_row(1, "read")], [a_send(1)], audience=2).balances


def test_the_same_message_twice_is_a_duplicate() -> None:
    assert judge([a_row(1, "read")], [a_send(1), a_send(1)], audience=1).duplicates == 1


def test_two_messages_to_one_person_are_a_duplicate() -> None:
    rows = [a_row(1, "read"), a_row(2, "read")]

    assert judge(rows, [a_send(1), a_send(2, to=1)], audience=2).duplicates == 1


@pytest.mark.parametrize("word", ["failed", "skipped", "cancelled"])
def test_calling_a_message_not_sent_that_was_accepted_is_wrong(word: str) -> None:
    assert judge([a_row(1, word)], [a_send(1)], audience=1).wrong == 1


def test_what_only_the_webhook_told_is_counted_apart() -> None:
    assert judge([a_row(1, "delivered", accepted=False)], [a_send(1)], audience=1).settled_by_webhook == 1


def test_an_unknown_message_whose_webhooks_came_should_have_been_settled() -> None:
    rows = [a_row(1, "unknown", accepted=False, error="no answer"), a_row(2, "unknown", accepted=False)]

    found = judge(rows, [a_send(1), a_send(2, reports=0)], audience=2)

    assert found.unknown_though_accepted == 1
    assert found.unknown_reasons["no answer"] == 1
