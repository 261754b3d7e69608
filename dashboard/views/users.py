"""Who may sign in, and what may they do?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, markup, session, words
from dashboard.admin_payloads import Account
from dashboard.payloads import Json

ROLES = {
    Role.ADMIN.value: "everything, and this page",
    Role.MARKETER.value: "audiences, templates, campaigns, the inbox",
    Role.APPROVER.value: "reads campaigns and the inbox, may be given conversations",
    Role.ANALYST.value: "reads figures, sees no people",
    Role.COMPLIANCE.value: "consent, audits, data requests, erasure",
    Role.AUDITOR.value: "reads the ledger, audits and the log",
}
SHORTEST = 10  # characters of a password


def _row(user: Account, zone: str) -> None:
    with st.container(border=True, key=f"user_{user.id}"):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left:
            badge = " :gray-badge[May not sign in]" if user.disabled_at else ""
            st.markdown(f"**{markup.markdown_text(user.name)}**{badge}")
            st.caption(
                markup.markdown_text(
                    f"{user.email} · {words.plain(user.role)} · since {format.instant(user.created_at, zone)}"
                )
            )
        with right, st.container(horizontal=True, gap="small", horizontal_alignment="right"):
            _change(user)
            label = "Let sign in again" if user.disabled_at else "Disable"
            if st.button(label, key=f"disable_{user.id}"):
                session.admin().change_user(user.id, {"disabled": user.disabled_at is None})
                st.rerun()


def _change(user: Account) -> None:
    with st.popover("Change", key=f"change_{user.id}"), st.form(f"form_{user.id}", border=False):
        name = (st.text_input("Name", value=user.name, key=f"name_{user.id}", max_chars=100) or "").strip()
        role = st.selectbox(
            "Role", list(ROLES), index=list(ROLES).index(user.role), format_func=_role, key=f"role_{user.id}"
        )
        password = st.text_input(
            "New password", type="password", key=f"password_{user.id}", autocomplete="new-password",
            help="Leave it empty to keep the old one. A new one signs the person out everywhere.",
        )  # fmt: skip
        if st.form_submit_button("Save", type="primary", key=f"save_{user.id}"):
            given: Json = {"role": role, "name": name, "password": password}
            body = {field: value for field, value in given.items() if value}
            session.admin().change_user(user.id, body)
            st.rerun()


def _role(word: str) -> str:
    return f"{words.plain(word)}: {ROLES[word]}"


def _add() -> None:
    with st.expander("Add a person", icon=":material/person_add:", key="add_user"):
        with st.form("add_user_form", border=False):
            left, right = st.columns(2)
            with left:
                email = (st.text_input("E-mail", key="add_email", autocomplete="off") or "").strip()
                name = (st.text_input("Name", key="add_name", max_chars=100) or "").strip()
            with right:
                role = st.selectbox("Role", list(ROLES), index=1, format_func=_role, key="add_role")
                password = st.text_input(
                    "First password", type="password", key="add_password", autocomplete="new-password",
                    help=f"At least {SHORTEST} characters. Tell it in person.",
                )  # fmt: skip
            pressed = st.form_submit_button("Add", type="primary", key="add_button")
        if pressed and not (email and name and password):
            st.warning("E-mail, name and password are needed.")
        elif pressed and len(password or "") < SHORTEST:
            st.warning(f"A password has at least {SHORTEST} characters.")
        elif pressed:
            body: Json = {"email": email, "name": name, "role": role, "password": password}
            session.admin().add_user(body, controls.once_key(f"user_{email}"))
            controls.done_with(f"user_{email}")
            st.session_state.pop("add_password", None)
            st.toast(f"{name} may sign in.")
            st.rerun()


st.title("Users")
with session.guard("add"):
    _add()
query = (st.text_input("Find", key="user_search", type="search", placeholder="Name, e-mail or role") or "").strip()
found = [each for each in session.admin().users() if query.lower() in f"{each.name} {each.email} {each.role}".lower()]
for each in found:
    with session.guard(f"user_{each.id}"):
        _row(each, get_settings().time_zone)
if not found:
    st.info("Nobody fits.")
