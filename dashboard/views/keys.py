"""Which programs may call the API, and with which rights?"""

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import format, markup, session, words
from dashboard.admin_payloads import Key

_MADE = "made_key"


def _new_secret() -> None:
    """The secret of the key just made, until it is put away; it is nowhere else."""
    made: Key | None = st.session_state.get(_MADE)
    if made is None:
        return
    with st.container(border=True, key="new_secret"):
        st.markdown(f"**The key for {markup.markdown_text(made.name)}.** Copy it now, it is not shown again.")
        st.code(made.secret, language=None, wrap_lines=True)
        if st.button("I have it", key="secret_seen", type="primary"):
            del st.session_state[_MADE]
            st.rerun()


def _add() -> None:
    with st.expander("Make a key", icon=":material/key:", key="make_key"), st.form("add_key", border=False):
        name = (
            st.text_input("Which program uses it", key="key_name", placeholder="Web shop", max_chars=100) or ""
        ).strip()
        role = st.selectbox(
            "It may do what this role may",
            [role.value for role in Role],
            index=1,
            format_func=words.plain,
            key="key_role",
        )
        if st.form_submit_button("Make the key", type="primary", key="key_button"):
            if not name:
                st.warning("Say which program uses it, so that it can be told apart.")
            else:
                st.session_state[_MADE] = session.admin().add_key(name, role)
                st.rerun()


def _row(key: Key, zone: str) -> None:
    with st.container(border=True, key=f"key_{key.id}"):
        left, right = st.columns([4, 1], vertical_alignment="center")
        with left:
            badge = " :gray-badge[Revoked]" if key.revoked_at else ""
            st.markdown(f"**{markup.markdown_text(key.name)}**{badge}")
            facts = [f"{key.prefix}…", words.plain(key.role), f"made {format.instant(key.created_at, zone)}"]
            facts += [f"revoked {format.instant(key.revoked_at, zone)}"] if key.revoked_at else []
            st.caption(markup.markdown_text(" · ".join(facts)))
        if not key.revoked_at:
            with right, st.popover("Revoke", key=f"revoke_{key.id}"):
                st.caption("The program gets no further with it. There is no way back.")
                if st.button("Revoke the key", key=f"revoke_now_{key.id}", type="primary"):
                    session.admin().revoke_key(key.id)
                    st.rerun()


st.title("API keys")
st.caption("A program signs in with a key instead of a password. Only the key's beginning is kept here.")
_new_secret()
with session.guard("add"):
    _add()
keys = session.admin().keys()
for each in sorted(keys, key=lambda key: key.revoked_at is not None):
    with session.guard(f"key_{each.id}"):
        _row(each, get_settings().time_zone)
if not keys:
    st.info("No program has a key yet.")
