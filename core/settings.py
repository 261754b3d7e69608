"""Settings from the environment: the only place that reads it."""

import os
from functools import cache
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

ROOT = Path(__file__).parent.parent  # where processes run, so that imports and migrations are found


class Settings(BaseSettings):
    """Every setting, read from `KAIRAN_*` variables and `.env`; frozen after start.

    A wrong value stops the start with one sentence (`SettingsError`) that says what to set.
    """

    model_config = SettingsConfigDict(env_prefix="KAIRAN_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".kairan"), description="Keys, uploads, exports, the lake and the embedded servers")
    database_url: str = Field("", description="PostgreSQL 18 or newer; empty means the embedded server")
    valkey_url: str = Field("", description="Valkey or Redis; empty means the embedded server")
    api_host: str = Field("127.0.0.1", description="Address the API and dashboard listen on")
    api_port: int = Field(8000, ge=1, le=65535)
    dashboard_port: int = Field(8501, ge=1, le=65535)
    sandbox_port: int = Field(8900, ge=1, le=65535)
    api_url: str = Field("", description="Where the dashboard reaches the API; default http://127.0.0.1:API_PORT")
    public_url: str = Field("", description="Address people's phones reach: tracked links and webhooks start with it")
    whatsapp_url: str = Field("https://graph.facebook.com", description="Base URL of the Cloud API")
    whatsapp_version: str = Field("v26.0", pattern=r"^v\d+\.\d+$")
    whatsapp_app_id: str = Field("", description="App that owns the webhook subscription; needed for media headers")
    whatsapp_app_secret: str = Field("", description="Signs webhooks; several may be given, comma separated")
    whatsapp_verify_token: str = Field("", description="Answers the provider's handshake")
    whatsapp_access_token: str = Field("", description="System user token with the two whatsapp_business permissions")
    time_zone: str = Field("UTC", description="IANA zone in which the organisation's days are cut")
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    country: str = Field("US", pattern=r"^[A-Z]{2}$", description="Region assumed for numbers written without a prefix")
    brand: str = Field("Our shop", min_length=1, description="Controller named in consent records and opt-out replies")
    marketing_min_grade: str = Field(
        "C", pattern=r"^[ABC]$", description="Weakest evidence grade marketing may rely on"
    )
    import_approval_above: int = Field(
        500, ge=0, description="Opt-ins one person may bring in files in a day; beyond it a second person approves"
    )
    worker_concurrency: int = Field(50, ge=1, le=50, description="Requests one send batch keeps in flight")
    media_max_mb: int = Field(25, ge=1, le=100, description="Largest file of a person that is fetched, in MB")
    hooks_allow_private: bool = Field(
        False, description="Let webhooks we send go to http:// and to addresses inside your own network"
    )
    lake_interval_s: int = Field(60, ge=5, description="Seconds between refreshes of the lake")
    keep_webhooks_days: int = Field(90, ge=1, description="How long raw bodies of webhooks are kept")
    keep_uploads_days: int = Field(90, ge=1, description="How long uploaded files and rejected rows are kept")
    keep_media_days: int = Field(90, ge=1, description="How long files people sent, or got as answers, are kept")
    keep_exports_days: int = Field(30, ge=1, description="How long finished audit packages are kept")
    keep_events_days: int = Field(730, ge=1, description="How long events other systems told about people are kept")
    keep_evidence_days: int = Field(
        1095, ge=30, description="How long people whose consent has ended are kept; then they are erased"
    )
    erase_hold: str = Field(
        "IN=365",
        pattern=r"^([A-Z]{2}=\d{1,5}(,[A-Z]{2}=\d{1,5})*)?$",
        description="Countries where erased people's consent evidence stays sealed so many days after the last send",
    )
    erase_hold_key: Path | None = Field(
        None, description="X25519 public key (PEM file) to seal it to; empty: a key derived from DATA_DIR/keys"
    )
    log_level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as unknown:
            raise ValueError(f"{value!r} is no IANA time zone, for example Europe/Berlin") from unknown
        return value

    @field_validator("erase_hold_key", mode="before")
    @classmethod
    def _no_path(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("database_url")
    @classmethod
    def _postgres_url(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("postgresql", "postgres"):
            raise ValueError("must start with postgresql://")
        return value

    @field_validator("valkey_url")
    @classmethod
    def _valkey_url(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("redis", "rediss", "valkey", "valkeys", "unix"):
            raise ValueError("must start with redis://, rediss://, valkey:// or unix://")
        return value.replace("valkey", "redis", 1) if value.startswith("valkey") else value

    @field_validator("public_url", "api_url", "whatsapp_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @property
    def own_api_url(self) -> str:
        """Where the dashboard and the CLI reach the API."""
        return self.api_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def links_url(self) -> str:
        """What tracked links start with."""
        return self.public_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def lake_dir(self) -> Path:
        return self.data_dir / "lake"

    @property
    def erase_hold_days(self) -> dict[str, int]:
        """Country → days after the last send; countries without a rule are absent."""
        pairs = (each.split("=") for each in self.erase_hold.split(",") if each)
        return {country: int(days) for country, days in pairs}

    @property
    def app_secrets(self) -> list[str]:
        """Secrets that may sign webhooks: more than one while a secret is being rotated."""
        return [secret.strip() for secret in self.whatsapp_app_secret.split(",") if secret.strip()]

    def as_environment(self) -> dict[str, str]:
        """This process's environment with every setting spelled out, for a child that shall have the same."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("KAIRAN_")}
        told = {**self.model_dump(), "data_dir": self.data_dir.resolve()}
        told["erase_hold_key"] = self.erase_hold_key.resolve() if self.erase_hold_key else ""
        return own | {f"KAIRAN_{name.upper()}": str(value) for name, value in told.items()}

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Settings from the environment with overrides; raises SettingsError in one sentence."""
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # values are validated by pydantic
        except ValidationError as wrong:
            first = wrong.errors()[0]
            name = f"KAIRAN_{'_'.join(str(part) for part in first['loc']).upper()}"
            reason = str(first["msg"]).removeprefix("Value error, ")
            raise SettingsError(f"{name} is wrong: {reason}. Set it in the environment or in .env.") from wrong


@cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings.load()
