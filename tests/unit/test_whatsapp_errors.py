"""The provider's codes: each has a meaning, an action and a next step; what is unknown is final."""

from hypothesis import given
from hypothesis import strategies as st

from core.whatsapp.errors import ERRORS, Action, explain


def test_every_row_tells_a_person_what_happened_and_what_to_do() -> None:
    for code, row in ERRORS.items():
        assert row.code == code
        assert row.meaning[0].isupper() and not row.meaning.endswith(".")
        assert row.next_step.endswith(".")


def test_only_what_surely_did_not_go_out_is_tried_again() -> None:
    retried = {code for code, row in ERRORS.items() if row.retryable}
    assert {1, 2, 4, 130429, 131000, 131016, 131056, 80007} <= retried
    assert not retried & {131026, 131047, 131049, 131050, 130472, 132000, 132001, 190, 368, 131031}
    assert all(row.retryable for row in ERRORS.values() if row.limiter)


@given(st.integers(-(2**63), 2**63))
def test_an_unknown_code_is_shown_and_never_retried(code: int) -> None:
    row = explain(code)
    if code not in ERRORS and not 200 <= code < 300:
        assert row.action is Action.FIX and not row.retryable and str(code) in row.meaning


def test_every_permission_code_is_the_same_problem() -> None:
    assert explain(250).action is explain(200).action is Action.PAUSE_ACCOUNT
