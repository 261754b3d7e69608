"""The cookie that outlives a reload: its name, its route, and the two lines the browser runs for it."""

import streamlit as st

from core.settings import get_settings
from dashboard import handover

HEADER = "x-kairan-dashboard"  # another site's page cannot send it without being asked first, and then it is refused


def cookie_name() -> str:
    """One per dashboard: cookies know hosts, but no ports."""
    return f"kairan_session_{get_settings().dashboard_port}"


def path() -> str:
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}/kept-session" if base else "/kept-session"


def token() -> str | None:
    """What the browser brought when it opened the page."""
    return st.context.cookies.get(cookie_name())


def bring(code: str) -> None:
    """Let the browser fetch the cookie; shown until it has."""
    if handover.is_waiting(code):
        _run(f"fetch('{path()}', {{method: 'POST', headers: {{'{HEADER}': '1'}}, body: '{code}'}})")


def drop() -> None:
    """Let the browser give the cookie back."""
    _run(f"fetch('{path()}', {{method: 'DELETE', headers: {{'{HEADER}': '1'}}}})")


def _run(script: str) -> None:
    """Only texts of our own come here: a path, a code of letters, digits, - and _."""
    st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)
