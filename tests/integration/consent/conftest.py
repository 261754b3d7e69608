"""A keyring, settings and people for consent tests."""

from pathlib import Path

import pytest

from core.keys import Keyring
from core.settings import Settings


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.load(tmp_path_factory.mktemp("data"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data_dir=tmp_path, brand="Acme", country="JP")
