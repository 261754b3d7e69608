"""What a person can get wrong: one sentence on stderr, a status that is not 0, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.lock import DataDirLock
from tests.cli.conftest import Kairan, assert_one_sentence


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("fly",), "fly"),
        (("import",), "file"),
        (("demo", "--messages", "3"), "--messages"),
        (("users", "add", "a@example.org", "--role", "king"), "king"),
        (("audit", "verify", "/nowhere.zip"), "/nowhere.zip"),
        (("users",), "Missing command"),
    ],
)
def test_wrong_usage_is_named(kairan: Kairan, arguments: tuple[str, ...], word: str) -> None:
    assert_one_sentence(kairan(*arguments), 2, word)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("KAIRAN_API_PORT", "http", "integer"),
        ("KAIRAN_TIME_ZONE", "Mars/Olympus", "Europe/Berlin"),
        ("KAIRAN_DATABASE_URL", "mysql://localhost/x", "postgresql://"),
    ],
)
def test_a_wrong_setting_is_named(kairan: Kairan, name: str, value: str, word: str) -> None:
    assert_one_sentence(kairan("up", **{name: value}), 2, name, word)


def test_a_port_in_use_is_named_with_the_setting_that_changes_it(kairan: Kairan, listener: int) -> None:
    ended = kairan("up", KAIRAN_DASHBOARD_PORT=str(listener))

    assert_one_sentence(ended, 2, str(listener), "in use", "KAIRAN_DASHBOARD_PORT")


def test_one_port_for_two_things_is_refused(kairan: Kairan) -> None:
    assert_one_sentence(kairan("up", KAIRAN_API_PORT="18001", KAIRAN_DASHBOARD_PORT="18001"), 2, "different ports")


def test_a_data_directory_that_cannot_be_written_is_named(kairan: Kairan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ended = kairan("up", KAIRAN_DATA_DIR=str(tmp_path / "file" / "data"))

    assert_one_sentence(ended, 2, "cannot be written", "KAIRAN_DATA_DIR")


@pytest.mark.parametrize(
    "url", ["postgresql://kairan:topsecret@127.0.0.1:1/kairan", "postgresql://u:topsecret@nowhere.invalid/x"]
)
def test_a_database_url_that_leads_nowhere_is_named_without_its_password(kairan: Kairan, url: str) -> None:
    ended = kairan("up", KAIRAN_DATABASE_URL=url)

    assert_one_sentence(ended, 2, "KAIRAN_DATABASE_URL")
    assert "topsecret" not in ended.stderr


def test_a_second_stack_on_the_same_directory_names_the_first(kairan: Kairan, tmp_path: Path) -> None:
    with DataDirLock(tmp_path / "data"):
        ended = kairan("up")

    assert_one_sentence(ended, 1, f"pid {os.getpid()}", "KAIRAN_DATA_DIR")


def test_commands_of_the_api_say_how_to_start_it_and_how_to_sign_in(kairan: Kairan, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("phone\n+4915112345678\n")

    assert_one_sentence(kairan("import", str(file)), 1, "KAIRAN_API_KEY")
    assert_one_sentence(kairan("import", str(file), "--api-key", "x"), 1, "kairan up")
    assert_one_sentence(kairan("lake", "refresh", "--api-key", "x"), 1, "kairan up")


def test_the_demo_refuses_a_directory_with_real_data_and_up_one_with_the_demos(kairan: Kairan, tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    assert_one_sentence(kairan("demo", "--exit"), 2, "real data")

    account = (
        '{"app_secret": "a", "verify_token": "b", "access_token": "c", "passwords": {}, "began_on": "2026-11-22", '
        '"runs": 1, "stopped": []}'
    )
    (tmp_path / "data" / "demo.json").write_text(account)
    assert_one_sentence(kairan("up"), 2, "made-up people")


def test_help_needs_none_of_the_slow_libraries() -> None:
    slow = "{'litestar', 'polars', 'streamlit', 'sqlalchemy', 'httpx', 'duckdb', 'pydantic'}"
    code = f"import sys, cli.main; print(sorted({slow} & set(sys.modules)))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
