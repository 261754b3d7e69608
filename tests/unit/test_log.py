"""Logs: numbers and tokens are masked wherever they slip in, ids stay readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.log import mask_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to +4917012345678 failed", "to ***78 failed"),
        ("4917012345678", "***78"),
        ('{"wa_id":"551188887777"}', '{"wa_id":"***77"}'),
        ("Authorization: Bearer abc.DEF-1_2", "Authorization: Bearer ***"),
        ("GET /x?access_token=EAAG123|abc&a=1", "GET /x?access_token=***&a=1"),
        ("token EAAGm0PX4ZCpsBA", "token EAA***"),
        ("campaign 01890a5d-ac96-774b-bcce-b302099a8057", "campaign 01890a5d-ac96-774b-bcce-b302099a8057"),
        ("2026-11-22 10:00:00, 12345678 rows", "2026-11-22 10:00:00, 12345678 rows"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@given(st.from_regex(r"\A\+?[1-9][0-9]{8,14}\Z"), st.text(alphabet=" ,.;:()=\"'/\n", max_size=5))
def test_a_number_between_any_marks_is_masked(number: str, around: str) -> None:
    assert number not in mask_text(f"{around}{number}{around}")
