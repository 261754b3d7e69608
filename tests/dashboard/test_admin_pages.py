"""The pages on which an installation is set up: templates, numbers, rate cards, users, keys."""

from core.statuses import Role
from dashboard import template_form
from dashboard.template_form import Button, Form
from tests.dashboard.conftest import PASSWORD, Visit, said, sign_in


def test_an_administrator_adds_changes_and_disables_a_person(dashboard: Visit) -> None:
    at = dashboard(Role.ADMIN, "users")
    at.text_input(key="add_email").set_value("mina@example.org")
    at.text_input(key="add_name").set_value("Mina *Sato*")
    at.text_input(key="add_password").set_value("too short")
    at.button(key="add_button").click().run()
    assert "at least 10 characters" in at.warning[0].value
    at.text_input(key="add_password").set_value(PASSWORD)
    at.button(key="add_button").click().run()
    assert not at.exception and "mina\\@example" not in said(at) and "Mina \\*Sato\\*" in said(at)

    at.text_input(key="user_search").set_value("mina").run()
    (disable,) = [button for button in at.button if str(button.key).startswith("disable_")]
    disable.click().run()

    assert "May not sign in" in said(at)
    refused = sign_in(dashboard(), "mina@example.org", PASSWORD)
    assert "wrong" in refused.error[0].value


def test_the_only_administrator_cannot_lock_everybody_out(dashboard: Visit) -> None:
    at = dashboard(Role.ADMIN, "users")
    at.text_input(key="user_search").set_value("some admin").run()
    (disable,) = [button for button in at.button if str(button.key).startswith("disable_")]

    disable.click().run()

    assert "only administrator" in at.error[0].value


def test_a_key_is_shown_until_it_is_put_away_and_then_never_again(dashboard: Visit) -> None:
    at = dashboard(Role.ADMIN, "keys")
    at.button(key="key_button").click().run()
    assert "Say which program" in at.warning[0].value
    at.text_input(key="key_name").set_value("Web shop")
    at.button(key="key_button").click().run()
    secret = at.code[0].value
    assert secret.startswith("kairan_") and "not shown again" in said(at)

    at.button(key="secret_seen").click().run()

    assert not at.code and secret not in said(at) and "Web shop" in said(at)
    (revoke,) = [button for button in at.button if str(button.key).startswith("revoke_now_")]
    revoke.click().run()
    assert "Revoked" in said(at)


def test_numbers_are_paused_with_a_reason_and_one_nobody_knows_is_refused(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "numbers")
    (pause,) = [button for button in at.button if str(button.key).startswith("pause_")]
    pause.click().run()
    assert "say why" in at.warning[0].value
    at.text_input(key=f"{pause.key}_reason").set_value("holiday")
    at.button(key=str(pause.key)).click().run()
    assert "Paused since" in said(at) and "holiday" in said(at)
    (resume,) = [button for button in at.button if str(button.key).startswith("resume_")]
    resume.click().run()
    assert "Paused since" not in said(at)

    at.button(key="register_button").click().run()
    assert "All three are needed" in at.warning[0].value
    for field, value in (("number", "1"), ("account", "2"), ("name", "Shop")):
        at.text_input(key=f"register_{field}").set_value(value)
    at.button(key="register_button").click().run()
    assert at.error  # nothing answers for WhatsApp here, and it is asked first

    looked = dashboard(Role.ANALYST, "numbers")
    assert not [button for button in looked.button if str(button.key).startswith(("pause_", "register"))]


def test_templates_are_listed_searched_and_drafted(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "templates")
    assert "autumn\\_sale" in said(at) and "Stop promotions" in said(at)

    at.text_input(key="new_name").set_value("winter_hello")
    at.text_area(key="new_body").set_value("Hello {{1}}, *winter* is here.").run()
    at.text_input(key="new_example_1").set_value("Aiko").run()
    assert "Hello Aiko, <b>winter</b> is here." in said(at)
    at.button(key="save_draft").click().run()
    assert not at.exception and not at.error
    assert "winter\\_hello" in said(at) and "Draft" in said(at)
    at.text_input(key="template_search").set_value("winter").run()
    assert "autumn\\_sale" not in said(at)
    (discard,) = [button for button in at.button if str(button.key).startswith("discard_")]
    discard.click().run()

    assert "No template fits" in said(at)


def test_a_template_the_provider_would_refuse_is_refused_in_words(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "templates")
    at.text_input(key="new_name").set_value("Winter Hello")
    at.text_area(key="new_body").set_value("Hello").run()
    at.button(key="save_draft").click().run()

    assert "lower-case letters" in at.error[0].value


def test_rate_cards_say_since_when_and_which_are_made_up(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "rates")

    text = said(at)

    assert not at.exception
    assert "No rate card yet" in text or "Holds from" in text or "Countries" in text
    at.text_input(key="rates_market").set_value("ZZ").run()
    assert "no price for this country" in said(at)


def test_a_new_installation_is_told_what_to_do_first(new_dashboard: Visit) -> None:
    assert "Register a number first" in said(new_dashboard(Role.MARKETER, "templates"))
    assert "nothing can be sent" in said(new_dashboard(Role.ADMIN, "numbers"))
    assert "No program has a key yet" in said(new_dashboard(Role.ADMIN, "keys"))
    assert "No rate card yet" in said(new_dashboard(Role.ANALYST, "rates"))


def test_a_form_becomes_the_components_the_provider_takes() -> None:
    form = Form(
        "Hello {{1}}, {{2}} off.",
        header=" Sale ",
        footer="Reply STOP",
        buttons=[
            Button("URL", "Shop", is_tracked=True),
            Button("QUICK_REPLY", "Stop"),
            Button("URL", "Site", "https://a.b"),
        ],
        examples={"1": "Ana", "2": "20 %"},
    )

    made = template_form.components(form, links_url="https://k.example")

    assert [part["type"] for part in made] == ["HEADER", "BODY", "FOOTER", "BUTTONS"]
    assert made[1]["example"] == {"body_text": [["Ana", "20 %"]]}
    buttons = made[3]["buttons"]
    assert isinstance(buttons, list) and [each["type"] for each in buttons] == ["QUICK_REPLY", "URL", "URL"]
    assert (buttons[1]["url"], buttons[2]["url"]) == ("https://k.example/{{1}}", "https://a.b")
    seen = template_form.shown(made)
    assert (seen.header, seen.body, seen.buttons) == ("Sale", "Hello Ana, 20 % off.", ["Stop", "Shop", "Site"])
