"""Tracked links: record who followed one, and lead on to the shop."""

from typing import Any

from litestar import Controller, Request, Response, route
from litestar.enums import HttpMethod
from litestar.params import FromPath

from api.state import Db
from core.services import links


class LinkController(Controller):
    path = "/r"
    tags = ("Links",)

    @route("/{code:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], exclude_from_auth=True, status_code=302)
    async def follow(self, code: FromPath[str], request: Request[None, None, Any], session: Db) -> Response[None]:
        """Redirect to the shop's address with `kairan_code` added, so that an order can name the message."""
        agent = request.headers.get("user-agent")
        target = await links.follow(session, code, method=request.method, user_agent=agent)
        headers = {"location": target, "cache-control": "no-store", "referrer-policy": "no-referrer"}
        return Response(None, status_code=302, headers=headers)
