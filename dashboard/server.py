"""What is served: the dashboard's script, and the route that keeps somebody signed in when the page is reloaded.

The cookie holds the session's token. No script of the page can read it (HttpOnly), no other site can use it
(SameSite=Strict), and signing out ends the session on the server, so that a copied cookie opens nothing.
"""

from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard import handover, kept

MOST = 200  # characters of a code


async def keep(request: Request) -> Response:
    """Exchange a code for the cookie (POST), or take the cookie back (DELETE)."""
    if (
        request.headers.get(kept.HEADER) is None
        or request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
    ):
        return Response("this is for the dashboard's own pages", 403)
    if request.method == "DELETE":
        answer = Response(status_code=204)
        answer.delete_cookie(kept.cookie_name(), path="/", httponly=True, samesite="strict")
        return answer
    body = await request.body()
    found = handover.take(body.decode("ascii", "replace")) if len(body) <= MOST else None
    if found is None:
        return Response("the code is not known, or was used", 404)
    token, seconds = found
    answer = Response(status_code=204)
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    answer.set_cookie(
        kept.cookie_name(), token, max_age=seconds, path="/", httponly=True, samesite="strict", secure=is_https
    )
    return answer


ROUTES = [Route(kept.path(), keep, methods=["POST", "DELETE"])]
app = st.App(Path(__file__).with_name("app.py"), routes=ROUTES)
