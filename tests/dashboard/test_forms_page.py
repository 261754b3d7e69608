"""The page of opt-in forms: made, shown with what came of them, changed, taken down."""

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from core.statuses import Role
from tests.dashboard.conftest import Stack, Visit, said


def make(at: AppTest, slug: str, name: str) -> AppTest:
    at.text_input(key="name_new").set_value(name)
    at.text_input(key="slug_new").set_value(slug)
    at.multiselect(key="boxes_new").set_value(["marketing|default"])
    at.multiselect(key="languages_new").set_value(["en", "ja"])
    at.text_area(key="origins_new").set_value("https://shop.example")
    return at.button(key="save_new").click().run()


def test_a_form_is_made_opened_by_anybody_and_taken_down(dashboard: Visit, full_stack: Stack) -> None:
    at = make(dashboard(Role.COMPLIANCE, "forms"), "spring-news", "Spring *news*")

    assert not at.exception and not at.error, [each.value for each in at.error]
    assert r"Spring \*news\*" in said(at) and "English, Japanese" in said(at)
    assert any("iframe" in each.value for each in at.code)
    assert httpx.get(f"{full_stack.url}/o/spring-news").status_code == 200
    reader = dashboard(Role.MARKETER, "forms")
    assert r"Spring \*news\*" in said(reader)
    assert not [each.key for each in reader.button if str(each.key).startswith(("edit_", "switch_", "save_"))]

    switch = next(str(each.key) for each in at.button if str(each.key).startswith("switch_"))
    at.button(key=switch).click().run()

    assert not at.exception and "taken down" in said(at)
    assert httpx.get(f"{full_stack.url}/o/spring-news").status_code == 404


def test_a_form_is_changed_and_a_refusal_says_why(dashboard: Visit) -> None:
    at = make(dashboard(Role.ADMIN, "forms"), "autumn", "Autumn")
    edit = next(str(each.key) for each in at.button if str(each.key).startswith("edit_"))
    form = edit.removeprefix("edit_")
    at.button(key=edit).click().run()

    at.text_area(key=f"origins_{form}").set_value("nonsense")
    at.button(key=f"save_{form}").click().run()
    assert "write it as https://shop.example" in at.error[0].value
    at.text_area(key=f"origins_{form}").set_value("")
    at.text_input(key=f"name_{form}").set_value("Harvest")
    at.button(key=f"save_{form}").click().run()

    assert not at.exception and not at.error
    assert "Harvest" in said(at) and "Name the sites that may show it first" in said(at)
    at.text_input(key="forms_q").set_value("no such form").run()
    assert "No form matches" in said(at)


@pytest.mark.parametrize(("role", "hint"), [(Role.COMPLIANCE, "Register a number first"), (Role.MARKETER, "")])
def test_a_new_installation_has_no_form(new_dashboard: Visit, role: Role, hint: str) -> None:
    at = new_dashboard(role, "forms")

    assert "There is no form yet" in said(at) and hint in said(at)
