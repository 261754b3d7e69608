"""What a simulated installation looks like: accounts, numbers, secrets, and how reality behaves."""

from typing import Literal

import msgspec

ProfileName = Literal["quiet", "demo", "realistic"]
DEFAULT_TOKEN = "EAAsandboxtoken"  # noqa: S105 - a made-up token for loopback use


class NumberConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A business phone number. `throughput` is messages per second, in and out together: 80 or 1000."""

    id: str = "200000000000002"
    display_phone_number: str = "15550001111"
    verified_name: str = "Demo Store"
    throughput: int = 80
    quality_rating: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] = "GREEN"
    messaging_limit: str = "TIER_100K"


class WabaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A WhatsApp Business Account with its numbers. People have one business-scoped user id per portfolio."""

    id: str = "100000000000001"
    portfolio_id: str = "300000000000001"
    name: str = "Demo Store"
    currency: str = "USD"
    numbers: tuple[NumberConfig, ...] = (NumberConfig(),)


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How updates travel to the receiver.

    `url` is the app's callback (none: no update is even built). Meta batches up to 1000 updates and 3 MB a POST and
    repeats a failed POST for up to 7 days ("Webhooks overview"). Probabilities are per POST (duplicates) or per update
    (disorder: held back 0.2 to 3 s, so that later ones overtake it; early: `sent` leaves before the send's response).
    """

    url: str | None = None
    verify_token: str = "sandbox-verify-token"  # noqa: S105 - a made-up token for loopback use
    max_updates: int = 100
    max_bytes: int = 3_000_000
    max_wait_ms: float = 50
    max_concurrent_posts: int = 8
    timeout_s: float = 10
    retry_first_s: float = 1
    retry_cap_s: float = 3600
    retry_horizon_s: float = 7 * 86400
    duplicate_probability: float | None = None
    disorder_probability: float | None = None
    early_status_probability: float | None = None
    escape_slashes: bool = False
    millisecond_timestamps: bool = False


class SandboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole installation; the defaults work out of the box.

    `time_scale` is virtual seconds per real second for human delays, review delays and retry waits: 60 makes an hour
    pass in a minute. Probabilities of `webhooks` left at None take the profile's. `token_expires_at` is Unix seconds;
    None is never. `window_error` says whether a free-form message outside the 24-hour window is refused at once or
    accepted and failed by webhook (both occur). `message_status` says when a template send carries `message_status`.
    `click_base_url` sends every simulated tap on a URL button to this origin instead of the link's own, with the
    link's host in `Host`; without it only loopback hosts and `click_hosts` are contacted.
    """

    wabas: tuple[WabaConfig, ...] = (WabaConfig(),)
    app_id: str = "700000000000001"
    app_name: str = "Demo Campaigns"
    app_secret: str = "test_app_secret"  # noqa: S105 - the secret of the public signature test vector
    access_token: str = DEFAULT_TOKEN
    token_expires_at: float | None = None
    require_appsecret_proof: bool = False
    seed: int = 7
    profile: ProfileName = "quiet"
    time_scale: float = 1.0
    template_review_s: float = 1.0
    media_max_mb: int = 100
    management_calls_per_hour: int = 5000
    templates_per_waba: int = 250
    templates_per_hour: int = 100
    window_error: Literal["sync", "async"] = "sync"
    message_status: Literal["always", "paced_only"] = "always"
    click_base_url: str | None = None
    click_hosts: tuple[str, ...] = ()
    webhooks: WebhookConfig = WebhookConfig()

    def __post_init__(self) -> None:
        if self.time_scale <= 0:
            raise ValueError("time_scale must be positive")
        numbers = [number.id for waba in self.wabas for number in waba.numbers]
        if len(set(numbers)) != len(numbers):
            raise ValueError("phone number ids must be unique")
        if not 1 <= self.webhooks.max_updates <= 1000:
            raise ValueError("webhooks.max_updates must be between 1 and 1000")
