"""The dashboard: sign in, then the pages the person's role may see.

The pages live in `views/`: Streamlit serves a folder called `pages/` beside this file by itself, past this file and
its sign-in, until somebody has opened the start page (seen with 1.67).
"""

from pathlib import Path

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import session, words

ICON = Path(__file__).with_name("icon.svg")
R = Role
# Streamlit paints captions at 60 % of the text's colour, too pale to read in small type, and leaves a hand's breadth
# of nothing above every page.
READABLE = """<style>
[data-testid="stCaptionContainer"], [data-testid="stMetricLabel"] {color: inherit; opacity: .82}
[data-testid="stMainBlockContainer"] {padding-top: 3.2rem; padding-bottom: 3rem; max-width: 1280px}
</style>"""
EVERYBODY_BUT_AUDITOR = {R.ADMIN, R.MARKETER, R.APPROVER, R.ANALYST, R.COMPLIANCE}
CAMPAIGN_READERS = {R.ADMIN, R.MARKETER, R.APPROVER, R.ANALYST}
CAMPAIGN_MAKERS = set(session.MAY_RUN_CAMPAIGNS)
AGENTS = {R.ADMIN, R.MARKETER, R.APPROVER, R.COMPLIANCE}
COMPLIANCE = {R.ADMIN, R.COMPLIANCE, R.AUDITOR}

# section, file and address, title, who may see it, in the menu or only by a link
PAGES: tuple[tuple[str, str, str, set[Role], bool], ...] = (
    ("", "overview", "Overview", EVERYBODY_BUT_AUDITOR, True),
    ("Campaigns", "campaigns", "Campaigns", CAMPAIGN_READERS, True),
    ("Campaigns", "live", "Live", CAMPAIGN_READERS, True),
    ("Campaigns", "results", "Results", CAMPAIGN_READERS, True),
    ("Campaigns", "templates", "Templates", CAMPAIGN_READERS, True),
    ("Campaigns", "new_campaign", "New campaign", CAMPAIGN_MAKERS, False),
    ("Campaigns", "review", "Review", CAMPAIGN_MAKERS, False),
    ("People", "inbox", "Inbox", AGENTS, True),
    ("People", "routing", "Automatic answers", AGENTS, True),
    ("People", "contacts", "Contacts", CAMPAIGN_MAKERS | {R.COMPLIANCE, R.APPROVER}, True),
    ("People", "audiences", "Audiences", CAMPAIGN_MAKERS | {R.COMPLIANCE}, True),
    ("People", "imports", "Import", CAMPAIGN_MAKERS | {R.COMPLIANCE}, True),
    ("People", "forms", "Opt-in forms", CAMPAIGN_MAKERS | {R.COMPLIANCE}, True),
    ("Compliance", "consent_figures", "Consent", COMPLIANCE, True),
    ("Compliance", "compliance", "Ledger and audits", COMPLIANCE, True),
    ("Compliance", "import_approvals", "Imports to approve", {R.ADMIN, R.COMPLIANCE}, True),
    ("Compliance", "holds", "On hold", {R.ADMIN, R.COMPLIANCE}, True),
    ("Compliance", "data_requests", "Requests", {R.ADMIN, R.COMPLIANCE}, True),
    ("Compliance", "registry", "Notices and purposes", COMPLIANCE, True),
    ("Compliance", "invalidations", "Invalid consents", COMPLIANCE, True),
    ("Compliance", "audit_log", "Who did what", COMPLIANCE, True),
    ("Operations", "webhooks", "Webhooks we receive", EVERYBODY_BUT_AUDITOR, True),
    ("Operations", "hooks", "Webhooks we send", {R.ADMIN, R.MARKETER, R.ANALYST}, True),
    ("Operations", "sources", "Webhooks from others", {R.ADMIN, R.MARKETER, R.ANALYST}, True),
    ("Settings", "numbers", "Numbers", CAMPAIGN_READERS, True),
    ("Settings", "rates", "Rate cards", CAMPAIGN_READERS, True),
    ("Settings", "users", "Users", {R.ADMIN}, True),
    ("Settings", "keys", "API keys", {R.ADMIN}, True),
)


def pages_for(role: str) -> dict[str, list[st.Page]]:
    """The menu of a role, by section; the first page is where it starts."""
    menu: dict[str, list[st.Page]] = {}
    for section, name, title, roles, listed in PAGES:
        if role in roles:
            page = st.Page(
                f"views/{name}.py",
                title=title,
                url_path=name,
                default=not menu,
                visibility="visible" if listed else "hidden",
            )
            menu.setdefault(section, []).append(page)
    return menu


def signed_out() -> st.Page:
    """Every address shows the sign-in form, so that a link still leads where it should afterwards."""
    forms = [st.Page(session.sign_in_page, title="Sign in", url_path="sign_in", default=True)]
    forms += [st.Page(session.sign_in_page, title="Sign in", url_path=name) for _, name, *_ in PAGES]
    return st.navigation(forms, position="hidden")


def person_box() -> None:
    """Who is signed in, and the way out."""
    user = session.user()
    if user is None:
        return
    with st.sidebar:
        st.caption(f"**{user.name}**  \n{words.plain(user.role)} · times in {get_settings().time_zone}")
        if st.button("Sign out", key="sign_out"):
            session.sign_out()
            st.rerun()


def main() -> None:
    # An icon of our own: Streamlit's named icons make the browser fetch the tab's icon from a font server.
    st.set_page_config(page_title="Kairan", page_icon=str(ICON), layout="wide", initial_sidebar_state=230)
    if session.user() is None:
        session.resume()
    if session.user() is None:
        signed_out().run()
        return
    session.keep()
    st.html(READABLE)
    st.logo(str(ICON), size="large")
    # Otherwise Streamlit folds what comes after twelve pages into "View more", which is all of compliance.
    page = st.navigation(pages_for(session.role()), expanded=True)
    person_box()
    with session.guard():
        session.confirm()
        page.run()


if __name__ == "__main__":
    main()
