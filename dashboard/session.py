"""Who is signed in: the token lives in the server's memory, and in a cookie no script can read, for reloads.

A page asks `client()` for the API and wraps what it does in `guard()`, which turns refusals into sentences.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import AppError, Unauthorized, Unavailable
from core.settings import get_settings
from core.statuses import Role
from dashboard import data, handover, kept
from dashboard.admin_client import AdminClient
from dashboard.api_client import ApiClient
from dashboard.oversight_client import OversightClient
from dashboard.payloads import User
from dashboard.people_client import PeopleClient
from dashboard.sources_client import SourcesClient

_TOKEN, _USER, _FAREWELL = "session_token", "session_user", "session_farewell"
_CODE, _ASKED, _DROP = "session_code", "session_asked", "session_drop"
MAY_RUN_CAMPAIGNS = frozenset({Role.ADMIN, Role.MARKETER})


def client() -> ApiClient:
    """The API as the signed-in person, or as nobody before the sign-in."""
    return ApiClient(data.http(get_settings().own_api_url), st.session_state.get(_TOKEN))


def people() -> PeopleClient:
    """What the API has about people, as the signed-in person."""
    return PeopleClient(data.http(get_settings().own_api_url), st.session_state.get(_TOKEN))


def oversight() -> OversightClient:
    """The compliance desk's part of the API, as the signed-in person."""
    return OversightClient(data.http(get_settings().own_api_url), st.session_state.get(_TOKEN))


def sources() -> SourcesClient:
    """The API of webhooks from other systems, as this person sees it."""
    return SourcesClient(data.http(get_settings().own_api_url), st.session_state.get(_TOKEN))


def admin() -> AdminClient:
    """What an installation is set up with, as the signed-in person."""
    return AdminClient(data.http(get_settings().own_api_url), st.session_state.get(_TOKEN))


def user() -> User | None:
    signed_in: User | None = st.session_state.get(_USER)
    return signed_in


def role() -> str:
    """The signed-in person's role; empty when nobody is."""
    signed_in = user()
    return signed_in.role if signed_in else ""


def may_run_campaigns() -> bool:
    return role() in MAY_RUN_CAMPAIGNS


def confirm() -> None:
    """Ask the API who this is: a session that ended, or a role that changed, counts from the next click on."""
    st.session_state[_USER] = client().who()


def sign_in(email: str, password: str) -> None:
    """Remember the person for this tab; raises AppError with the reason."""
    session = client().sign_in(email, password)
    for typed in ("email", "password"):
        st.session_state.pop(typed, None)
    st.session_state[_TOKEN], st.session_state[_USER] = session.token, session.user
    st.session_state[_CODE] = handover.leave(session.token, session.expires_at)
    for said in (_FAREWELL, _DROP):
        st.session_state.pop(said, None)


def resume() -> None:
    """Go on as whoever this browser was before the page was reloaded; once, and not after a sign-out."""
    token = kept.token()
    if not token or _FAREWELL in st.session_state or _ASKED in st.session_state:
        return
    st.session_state[_ASKED] = True
    try:
        known = ApiClient(data.http(get_settings().own_api_url), token).who()
    except Unauthorized:  # an old cookie: the form is shown
        return
    except Unavailable as down:
        st.session_state[_FAREWELL] = f"{down.message} Reload the page, or sign in again."
        return
    st.session_state[_TOKEN], st.session_state[_USER] = token, known


def keep() -> None:
    """Let the browser take its cookie, after a sign-in."""
    code = st.session_state.get(_CODE)
    if code:
        kept.bring(code)


def forget(farewell: str) -> None:
    """Drop the person and everything they saw; the sign-in page shows `farewell`."""
    st.session_state.clear()
    st.session_state[_FAREWELL] = farewell


def sign_out() -> None:
    try:
        client().sign_out()
    except AppError:  # the token is forgotten here in any case, and ends by itself on the server
        forget("You are signed out here. The API could not be told; the session ends by itself.")
    else:
        forget("You are signed out.")
    st.session_state[_DROP] = True


@contextmanager
def guard(part: str = "page") -> Iterator[None]:
    """Turn a refusal inside the block into a sentence; a lost session brings the sign-in page back.

    `part` names the block when a page has several, so that one that fails leaves the others standing.
    """
    try:
        yield
    except Unauthorized:
        forget("Your session has ended. Please sign in again.")
        st.rerun()
    except Unavailable as down:
        st.error(down.message, icon=":material/cloud_off:")
        st.button("Retry", key=f"retry_{part}")
    except AppError as refused:
        st.error(refused.message, icon=":material/block:")


def sign_in_page() -> None:
    """The form everybody meets first, at whatever address they came to."""
    if _DROP in st.session_state:
        kept.drop()
    _, middle, _ = st.columns([1, 1.4, 1])
    with middle:
        st.title("Kairan")
        st.caption("WhatsApp campaigns, and the numbers and records behind them.")
        farewell = st.session_state.get(_FAREWELL)
        if farewell:
            st.info(farewell)
        with st.form("sign_in"):
            email = st.text_input("Email", key="email", autocomplete="username")
            password = st.text_input("Password", type="password", key="password", autocomplete="current-password")
            pressed = st.form_submit_button("Sign in", type="primary", key="sign_in_button")
        st.caption("You stay signed in on this browser for twelve hours, or until you sign out.")
        if pressed:
            _try(email or "", password or "")


def _try(email: str, password: str) -> None:
    if not email or not password:
        st.warning("Enter your email and your password.")
        return
    try:
        sign_in(email, password)
    except AppError as refused:
        st.error(refused.message)
    else:
        st.rerun()
