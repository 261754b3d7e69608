"""Settings: read from one place, and a wrong one stops the start with one sentence that names it."""

import pytest

from core.errors import SettingsError
from core.settings import Settings


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("time_zone", "Berlin", "no IANA time zone"),
        ("time_zone", "../etc/passwd", "no IANA time zone"),
        ("database_url", "mysql://x", "must start with postgresql://"),
        ("valkey_url", "http://x", "must start with redis://"),
        ("public_url", "shop.example", "must start with http"),
        ("currency", "euro", ""),
        ("country", "Germany", ""),
        ("marketing_min_grade", "E", ""),
        ("api_port", "0", ""),
        ("api_port", "many", ""),
        ("log_level", "LOUD", ""),
        ("brand", "", ""),
        ("whatsapp_version", "26", ""),
    ],
)
def test_a_wrong_value_is_named_with_what_to_do(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(_env_file=None, **{name: value})
    sentence = refused.value.message
    assert sentence.startswith(f"KAIRAN_{name.upper()} is wrong: ") and words in sentence
    assert sentence.endswith("Set it in the environment or in .env.") and "\n" not in sentence


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIRAN_API_PORT", "8123")
    monkeypatch.setenv("KAIRAN_WHATSAPP_APP_SECRET", " new , old,, ")
    settings = Settings.load(_env_file=None)
    assert settings.own_api_url == settings.links_url == "http://127.0.0.1:8123"
    assert settings.app_secrets == ["new", "old"]


def test_addresses_lose_their_last_slash_and_valkey_is_spoken_to_as_redis() -> None:
    settings = Settings.load(_env_file=None, public_url="https://a.example/", valkey_url="valkeys://host:1/0")
    assert (settings.links_url, settings.valkey_url) == ("https://a.example", "rediss://host:1/0")
