"""Webhooks we send: the signature of the specification, the retry times, and where nothing may go."""

import asyncio
import base64
import ipaddress

import pytest

from core import hooks
from core.errors import AppError

# The example of the specification's own libraries.
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_the_specifications() -> None:
    key = base64.b64decode(SECRET)

    assert hooks.signature([key], ID, AT, BODY) == SIGNED
    assert hooks.signature([key, b"old"], ID, AT, BODY).split(" ")[0] == SIGNED
    assert hooks.secret_text(key) == f"whsec_{SECRET}"


def test_pauses_grow_spread_and_end() -> None:
    first, last = hooks.pause_before(1, 0.0), hooks.pause_before(9, 1.0)

    assert first is not None and first.total_seconds() == 5
    assert last is not None and last.total_seconds() == 86_400 * 1.2
    assert hooks.pause_before(10, 0.5) is None


PRIVATE = (
    "127.0.0.1 10.1.2.3 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 fe80::1 fd00::1"
    " ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: ff02::1"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not hooks.is_public(ipaddress.ip_address(address))


def test_addresses_outside_are_public() -> None:
    for address in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"):
        assert hooks.is_public(ipaddress.ip_address(address))


WRONG = [
    "http://shop.example/hook",
    "ftp://shop.example",
    "https://",
    "shop.example",
    "https://user:pass@shop.example/",
    "https://shop.example/#x",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:192.168.0.1]:8443/",
    "https://shop.example:99999/",
    "https://[x/",
    "https://shöp.example/",
]


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_public_https_address_is_refused(url: str) -> None:
    with pytest.raises(AppError):
        hooks.check_url(url, allow_private=False)


def test_private_addresses_are_taken_where_the_installation_allows_them() -> None:
    hooks.check_url("http://127.0.0.1:9000/hook", allow_private=True)
    with pytest.raises(AppError):
        hooks.check_url("file:///etc/passwd", allow_private=True)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001"])
async def test_a_name_or_a_spelling_that_leads_inside_is_refused_when_it_is_used(host: str) -> None:
    with pytest.raises(hooks.ForbiddenTarget):
        await hooks.resolve(host, 443, allow_private=False)
    assert await asyncio.wait_for(hooks.resolve(host, 443, allow_private=True), 5) in ("127.0.0.1", "::1")
