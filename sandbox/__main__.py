"""`python -m sandbox`: the simulator on a port."""

import argparse
import asyncio
import gc
import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from sandbox.app import Wiring, create_app
from sandbox.config import NumberConfig, SandboxConfig, WabaConfig
from sandbox.server import serve

_S = TypeVar("_S", bound=msgspec.Struct)


def read_arguments(arguments: list[str] | None = None) -> tuple[SandboxConfig, str, int]:
    """The configuration, host and port from the command line; flags override `--config`."""
    parser = argparse.ArgumentParser(prog="sandbox", description="A simulator of Meta's WhatsApp Cloud API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--config", type=Path, help="JSON file with a whole configuration (several accounts, numbers)")
    parser.add_argument("--webhook-url", help="the app's callback; none: no webhooks")
    parser.add_argument("--verify-token")
    parser.add_argument("--app-id")
    parser.add_argument("--app-secret")
    parser.add_argument("--access-token")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--profile", choices=["quiet", "demo", "realistic"])
    parser.add_argument("--time-scale", type=float, help="virtual seconds per real second for human delays")
    parser.add_argument("--template-review-s", type=float, help="virtual seconds until a template's verdict")
    parser.add_argument("--throughput", type=int, choices=[80, 1000], help="messages per second of every number")
    parser.add_argument("--window-error", choices=["sync", "async"])
    parser.add_argument("--click-base-url", help="origin that gets all visits to URL buttons")
    parser.add_argument("--click-host", action="append", dest="click_hosts", help="a host people may visit")
    parser.add_argument("--max-updates", type=int, help="most updates in a webhook POST (1 to 1000)")
    parser.add_argument("--max-wait-ms", type=float, help="how long an update waits for company")
    given = parser.parse_args(arguments)
    config = SandboxConfig()
    if given.config is not None:
        config = msgspec.json.decode(given.config.read_bytes(), type=SandboxConfig)
    webhooks = _changed(
        config.webhooks,
        url=given.webhook_url, verify_token=given.verify_token, max_updates=given.max_updates,
        max_wait_ms=given.max_wait_ms,
    )  # fmt: skip
    config = _changed(
        config,
        app_id=given.app_id, app_secret=given.app_secret, access_token=given.access_token, seed=given.seed,
        profile=given.profile, time_scale=given.time_scale, template_review_s=given.template_review_s,
        window_error=given.window_error, click_base_url=given.click_base_url,
        click_hosts=tuple(given.click_hosts) if given.click_hosts else None,
    )  # fmt: skip
    wabas = tuple(_with_throughput(waba, given.throughput) for waba in config.wabas)
    return _changed(config, webhooks=webhooks, wabas=wabas), given.host, given.port


def _with_throughput(waba: WabaConfig, throughput: int | None) -> WabaConfig:
    numbers: tuple[NumberConfig, ...] = tuple(_changed(number, throughput=throughput) for number in waba.numbers)
    return _changed(waba, numbers=numbers)


def _changed(value: _S, **changes: object) -> _S:
    return msgspec.structs.replace(value, **{name: new for name, new in changes.items() if new is not None})


def main() -> None:
    """Run the simulator until interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    config, host, port = read_arguments()
    app = create_app(Wiring(config))
    # Whatever was accepted stays: looking for circles among it again and again slows a long run down.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    asyncio.run(serve(app, host=host, port=port))
    # The server's native threads may outlive it; one that touches Python while the interpreter ends aborts the process.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
