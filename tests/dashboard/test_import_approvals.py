"""The page on which a second person decides about files with many opt-ins."""

import httpx
from streamlit.testing.v1 import AppTest

from core.settings import get_settings
from core.statuses import Role
from dashboard.api_client import ApiClient
from dashboard.oversight_client import OversightClient
from tests.dashboard.conftest import AWAITED, Visit, said


def found(at: AppTest, row: int, finding: str) -> None:
    """What typing into the table comes to, as whoever opened the page: a test cannot type into it."""
    with httpx.Client(base_url=get_settings().own_api_url) as http:
        OversightClient(http, at.session_state["session_token"]).find_sampled(str(AWAITED), row, finding, "")
    at.run()


def test_a_file_is_approved_once_every_proof_was_found_and_then_waits_no_more(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "import_approvals")

    assert not at.exception
    assert "CRM \\<b\\>manager" in said(at)
    assert "501 of the opt-ins carry the same second, 1 May 2026, 09:30 CEST" in said(at)
    assert "2 rows, 0 looked at" in said(at)
    assert at.button(key="approve_import").disabled
    at.button(key="save_findings").click().run()
    assert "Nothing was saved" in said(at)
    found(at, 7, "proven")
    found(at, 9, "unproven")
    assert "2 rows, 2 looked at" in said(at) and at.button(key="approve_import").disabled
    found(at, 9, "proven")

    at.button(key="approve_import").click().run()

    assert not at.exception
    assert "No file waits for an approval." in said(at)
    marketer = dashboard(Role.MARKETER)  # nobody works the file here, and while one waits nobody can be erased
    with httpx.Client(base_url=get_settings().own_api_url) as http:
        ended = ApiClient(http, marketer.session_state["session_token"]).steer_import(str(AWAITED), "cancel")
    assert ended.status == "cancelled"
