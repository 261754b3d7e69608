"""A sign-in outlives a reload: a code, once, for a cookie that no script can read."""

from datetime import timedelta

import httpx
import pytest
from starlette.applications import Starlette

from core.clock import utc_now
from core.statuses import Role
from dashboard import handover, kept
from dashboard.server import ROUTES
from tests.dashboard.conftest import PASSWORD, Visit, said, sign_in

HEADERS = {kept.HEADER: "1"}
LATER = timedelta(hours=12)


@pytest.fixture
async def browser() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=ROUTES)), base_url="http://kairan.test")


async def test_a_code_brings_the_cookie_once_and_no_script_can_read_it(browser: httpx.AsyncClient) -> None:
    code = handover.leave("a token", utc_now() + LATER)
    assert handover.is_waiting(code)

    answer = await browser.post(kept.path(), content=code, headers=HEADERS)

    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 204 and kept.cookie_name() in cookie
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    assert 43_000 < int(cookie.partition("max-age=")[2].partition(";")[0]) <= 43_200
    again = await browser.post(kept.path(), content=code, headers=HEADERS)
    assert (again.status_code, "set-cookie" in again.headers) == (404, False)
    assert not handover.is_waiting(code)


async def test_over_https_the_cookie_stays_there(browser: httpx.AsyncClient) -> None:
    code = handover.leave("a token", utc_now() + LATER)

    answer = await browser.post(kept.path(), content=code, headers={**HEADERS, "x-forwarded-proto": "https"})

    assert "secure" in answer.headers["set-cookie"].lower()


async def test_other_sites_made_up_codes_and_ended_sessions_get_none(browser: httpx.AsyncClient) -> None:
    code = handover.leave("a token", utc_now() + LATER)

    assert (await browser.post(kept.path(), content=code)).status_code == 403
    crossing = {**HEADERS, "sec-fetch-site": "cross-site"}
    assert (await browser.post(kept.path(), content=code, headers=crossing)).status_code == 403
    assert (await browser.delete(kept.path())).status_code == 403
    for wrong in (b"", b"made up", b"x" * 10_000, b"\xff\xfe"):
        assert (await browser.post(kept.path(), content=wrong, headers=HEADERS)).status_code == 404
    ended = handover.leave("a token", utc_now() - LATER)
    assert (await browser.post(kept.path(), content=ended, headers=HEADERS)).status_code == 404
    assert handover.is_waiting(code)


async def test_signing_out_takes_the_cookie_back(browser: httpx.AsyncClient) -> None:
    answer = await browser.delete(kept.path(), headers=HEADERS)

    assert answer.status_code == 204 and "max-age=0" in answer.headers["set-cookie"].lower()


def test_after_a_sign_in_the_page_has_a_code_and_never_the_token(dashboard: Visit) -> None:
    at = sign_in(dashboard(), f"{Role.MARKETER}@example.com", PASSWORD)

    scripts = [str(each.proto.body) for each in at.get("html") if "fetch(" in str(each.proto.body)]

    assert len(scripts) == 1 and "POST" in scripts[0]
    assert at.session_state["session_token"] not in "".join(scripts) + said(at)
    code = at.session_state["session_code"]
    taken = handover.take(code)
    assert taken is not None and taken[0] == at.session_state["session_token"]
    at.run()
    assert not [each for each in at.get("html") if "fetch(" in str(each.proto.body)]
