"""Keys are made once, kept private, and recognise what older ones hashed."""

import dataclasses
import hmac
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.keys import Keyring


def test_keys_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    first, again = Keyring.load(tmp_path), Keyring.load(tmp_path)

    assert first.fingerprint == again.fingerprint
    assert first.source_ref("api", "1") == again.source_ref("api", "1")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (tmp_path / "keys").iterdir())
    assert "fingerprint" not in repr(first)
    assert first.fingerprint not in repr(first)


@pytest.mark.parametrize("key", [b"", b"k" * 32, b"k" * 64, b"k" * 65, b"k" * 200])
def test_references_are_what_any_hmac_says(tmp_path: Path, key: bytes) -> None:
    made = Keyring.load(tmp_path)
    ring = dataclasses.replace(made, _idempotency=key, _addresses={2: b"newer", 1: key})

    assert ring.source_ref("api", "1") == hmac.digest(key, b"api\x1f1", "sha256").hex()
    assert ring.address_refs("+4915112345678") == [
        hmac.digest(each, b"cp1|number|+4915112345678", "sha256").hex() for each in (b"newer", key)
    ]


def test_two_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from core.keys import Keyring;"
        "print(Keyring.load(Path(sys.argv[1])).fingerprint)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    assert len({process.communicate()[0] for process in started}) == 1


def test_a_new_address_key_goes_first_and_the_old_ones_still_recognise(tmp_path: Path) -> None:
    old = Keyring.load(tmp_path)

    new = Keyring.rotate_addresses(tmp_path)

    assert (old.address_version, new.address_version) == (1, 2)
    assert new.address_refs("+819012345678")[1:] == old.address_refs("+819012345678")
    assert new.address_refs("+819012345678")[0] != old.address_refs("+819012345678")[0]


def test_numbers_and_user_ids_do_not_share_references(tmp_path: Path) -> None:
    ring = Keyring.load(tmp_path)

    assert ring.address_refs("+819012345678") != ring.address_refs("819012345678")


@pytest.mark.parametrize("name", ["signing.key", "idempotency.key", "address-1.key"])
def test_a_lost_or_damaged_key_stops_the_start_instead_of_being_replaced(tmp_path: Path, name: str) -> None:
    Keyring.load(tmp_path)
    key = tmp_path / "keys" / name

    key.write_text("damaged")
    with pytest.raises(SettingsError, match="damaged"):
        Keyring.load(tmp_path)
    key.unlink()
    with pytest.raises(SettingsError, match="missing"):
        Keyring.load(tmp_path)


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    Keyring.load(tmp_path)
    (tmp_path / "keys" / "signing.key").chmod(0o644)

    with pytest.raises(SettingsError, match="chmod 600"):
        Keyring.load(tmp_path)
