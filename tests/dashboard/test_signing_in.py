"""Who gets in, what they see in the menu, and what happens when the session or the API is gone."""

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.settings import get_settings
from core.statuses import Role
from dashboard import app
from tests.dashboard.conftest import APP, PASSWORD, Stack, Visit, said, sign_in


def test_nobody_sees_a_page_before_signing_in(dashboard: Visit) -> None:
    at = dashboard()

    assert [field.key for field in at.text_input] == ["email", "password"]
    assert at.title[0].value == "Kairan"


def test_a_wrong_password_is_refused_in_one_sentence(dashboard: Visit) -> None:
    at = sign_in(dashboard(), "analyst@example.com", "wrong")

    assert at.error[0].value == "The e-mail or the password is wrong."
    assert not at.metric


def test_signing_out_forgets_the_person_and_ends_the_session(dashboard: Visit, full_stack: Stack) -> None:
    at = dashboard(Role.MARKETER, "campaigns")
    token = at.session_state["session_token"]

    at.button(key="sign_out").click().run()

    assert at.info[0].value == "You are signed out."
    assert "session_user" not in at.session_state
    answer = httpx.get(f"{full_stack.url}/api/campaigns", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_an_ended_session_brings_back_the_sign_in_page_with_a_sentence(dashboard: Visit, full_stack: Stack) -> None:
    at = dashboard(Role.ANALYST, "overview")
    headers = {"Authorization": f"Bearer {at.session_state['session_token']}"}
    httpx.delete(f"{full_stack.url}/api/session", headers=headers)

    at.run()

    assert at.info[0].value == "Your session has ended. Please sign in again."
    assert not at.metric


def test_an_api_that_is_down_is_one_sentence_and_a_retry(
    dashboard: Visit, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dashboard(Role.MARKETER, "campaigns")
    monkeypatch.setenv("KAIRAN_API_URL", dead_url)
    get_settings.cache_clear()

    at.run()

    assert not at.exception
    assert at.error[0].value == f"The API at {dead_url} cannot be reached. Is it running?"
    assert "retry_page" in [button.key for button in at.button]


def test_reports_without_a_database_are_one_sentence_too(dashboard: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    at = dashboard(Role.ANALYST, "results")
    monkeypatch.setenv("KAIRAN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    get_settings.cache_clear()
    st.cache_resource.clear()

    at.run()

    assert not at.exception
    assert at.error[0].value == "The reports cannot be read: the database does not answer."


REPORTS = {"overview", "campaigns", "live", "results", "templates", "numbers", "rates"}
PEOPLE = {"inbox", "routing", "contacts"}


@pytest.mark.parametrize(
    ("role", "pages"),
    [
        (Role.ANALYST, REPORTS | {"webhooks", "hooks", "sources"}),
        (Role.AUDITOR, {"consent_figures", "compliance", "invalidations", "registry", "audit_log"}),
        (
            Role.COMPLIANCE,
            PEOPLE
            | {"overview", "audiences", "imports", "forms", "webhooks"}
            | {
                "consent_figures",
                "compliance",
                "import_approvals",
                "invalidations",
                "holds",
                "data_requests",
                "registry",
                "audit_log",
            },
        ),
        (Role.APPROVER, REPORTS | PEOPLE | {"webhooks"}),
        (
            Role.MARKETER,
            REPORTS
            | PEOPLE
            | {"new_campaign", "review", "audiences", "imports", "forms"}
            | {"webhooks", "hooks", "sources"},
        ),
    ],
)
def test_the_menu_has_only_what_the_role_may_see(role: Role, pages: set[str]) -> None:
    assert {name for _, name, _, roles, _ in app.PAGES if role in roles} == pages


def test_a_page_the_role_may_not_see_does_not_open(dashboard: Visit) -> None:
    at = dashboard(Role.AUDITOR)

    with pytest.raises(ValueError, match="campaigns"):
        at.switch_page("views/campaigns.py")


def test_no_folder_called_pages_lies_beside_the_app() -> None:
    """Streamlit would serve its files by itself, without the sign-in."""
    assert app.ICON.exists()
    assert not (app.ICON.parent / "pages").exists()


def test_the_password_is_not_kept(dashboard: Visit) -> None:
    at: AppTest = dashboard(Role.ANALYST)

    assert PASSWORD not in str(at.session_state.to_dict())
    assert APP.endswith("app.py")
    assert "Some analyst" in said(at)
