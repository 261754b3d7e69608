"""The demo's made-up installation: secrets shared with the simulated WhatsApp, and four people who sign in.

Kept in DATA_DIR/demo.json, readable by its owner only, so that a second demo continues where the first ended.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from core.errors import SettingsError
from core.settings import Settings
from core.statuses import Role

APP_ID, WABA_ID, PHONE_NUMBER_ID, DISPLAY_NUMBER = (
    "700000000000001",
    "100000000000001",
    "200000000000002",
    "15550001111",
)
ROLES = (Role.MARKETER, Role.ANALYST, Role.COMPLIANCE, Role.ADMIN)


@dataclass
class DemoAccount:
    """What every run of the demo on one data directory shares."""

    app_secret: str
    verify_token: str
    access_token: str
    passwords: dict[str, str]  # role → password
    began_on: str  # ISO date of the first run: the file's dates count from it
    runs: int = 0
    stopped: list[str] = field(default_factory=list)  # numbers, digits only, that wrote STOP in any run

    @classmethod
    def load(cls, data_dir: Path) -> Self | None:
        """The account of this data directory, or None when no demo ran on it."""
        path = data_dir / "demo.json"
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as damaged:
            raise SettingsError(f"{path} is damaged: set KAIRAN_DATA_DIR to a new folder") from damaged

    @classmethod
    def create(cls) -> Self:
        return cls(
            app_secret=secrets.token_hex(16),
            verify_token=secrets.token_urlsafe(16),
            access_token="EAA" + secrets.token_urlsafe(32).replace("-", "x").replace("_", "y"),
            passwords={role.value: secrets.token_urlsafe(9) for role in ROLES},
            began_on=datetime.now(UTC).date().isoformat(),
        )

    def save(self, data_dir: Path) -> None:
        """Whole or not at all; mode 600."""
        beside = data_dir / "demo.json.new"
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)
        beside.replace(data_dir / "demo.json")

    @staticmethod
    def email(role: Role) -> str:
        return f"{role.value}@demo.example"

    def settings(self) -> Settings:
        """Settings that lead to the simulated WhatsApp and nowhere else, whatever the environment says."""
        plain = Settings.load()
        api = f"http://127.0.0.1:{plain.api_port}"
        return Settings.load(
            api_host="127.0.0.1",
            api_url=api,
            public_url=api,
            whatsapp_url=f"http://127.0.0.1:{plain.sandbox_port}",
            whatsapp_app_id=APP_ID,
            whatsapp_app_secret=self.app_secret,
            whatsapp_verify_token=self.verify_token,
            whatsapp_access_token=self.access_token,
        )


def refuse_real_data(data_dir: Path) -> None:
    """Raise SettingsError when a data directory without a demo holds an installation already."""
    if (data_dir / "postgres").exists() and DemoAccount.load(data_dir) is None:
        raise SettingsError(f"{data_dir} holds real data: set KAIRAN_DATA_DIR to another folder for the demo")


def refuse_demo_data(data_dir: Path) -> None:
    """Raise SettingsError when a demo ran here: its made-up people must never meet the real WhatsApp."""
    if DemoAccount.load(data_dir) is not None:
        raise SettingsError(
            f"{data_dir} holds the demo's made-up people: set KAIRAN_DATA_DIR to another folder, "
            "or look at the demo again with kairan up --sandbox"
        )
