"""Files beside the code that repeat it must not drift from it."""

import re
from pathlib import Path

from core.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_example_of_settings_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"^#KAIRAN_(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert named == {name.upper() for name in Settings.model_fields}


def test_the_example_of_settings_shows_the_defaults() -> None:
    shown = dict(re.findall(r"^#KAIRAN_(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    examples = {"DATABASE_URL", "VALKEY_URL", "PUBLIC_URL"}  # these show a value, their default is empty

    fields = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    defaults = {name: "" if default is None else str(default) for name, default in fields.items()}

    assert {name: value for name, value in shown.items() if name not in examples} == {
        name: value for name, value in defaults.items() if name not in examples
    }


def test_compose_has_no_password_of_its_own() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    assert "${POSTGRES_PASSWORD:?" in text
    assert "${VALKEY_PASSWORD:?" in text
    assert not re.search(r"PASSWORD: [^$\s]", text)
