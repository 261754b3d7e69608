"""Which other systems are told what happens here, and do they take it?"""

from datetime import UTC, datetime, timedelta

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import controls, format, markup, session, words
from dashboard.chat_payloads import Delivery, EventType, Hook
from dashboard.payloads import Json

PAGE = 25
STATES = {"": "All", "waiting": "Waiting", "delivered": "Taken", "failed": "Given up"}


def _state(hook: Hook, zone: str) -> None:
    if hook.disabled_at is not None:
        reason = markup.markdown_text(hook.disabled_reason or "")
        st.error(f"Off since {format.instant(hook.disabled_at, zone)}: {reason}")
    elif hook.failing_since is not None:
        since = format.instant(hook.failing_since, zone)
        st.warning(f"Nothing has been taken since {since}. After five days of this it is switched off.")
    if hook.rotated_at is not None and datetime.now(UTC) - hook.rotated_at < timedelta(days=1):
        until = format.instant(hook.rotated_at + timedelta(days=1), zone)
        st.info(f"The secret was rotated: until {until} everything carries a signature of the old one too.")


def _card(hook: Hook, types: list[EventType], zone: str, *, may_change: bool) -> None:
    with st.container(border=True, key=f"hook_{hook.id}"):
        st.code(hook.url, language=None, wrap_lines=True)
        facts = [hook.description, ", ".join(hook.events), "with phone numbers" if hook.include_phone else ""]
        st.caption(markup.markdown_text(" · ".join(fact for fact in facts if fact)))
        _state(hook, zone)
        if may_change:
            _buttons(hook)
        if st.toggle("Show what was sent", key=f"log_{hook.id}"):
            _log(hook, zone, may_change=may_change)
        if may_change and st.session_state.get("edited_hook") == hook.id:
            _editor(hook, types)


def _buttons(hook: Hook) -> None:
    client = session.client()
    with st.container(horizontal=True, gap="small"):
        if st.button("Send a test", key=f"test_{hook.id}", disabled=hook.disabled_at is not None):
            client.act_on_hook(hook.id, "test")
            st.session_state[f"log_{hook.id}"] = True
            st.rerun()
        if st.button("Edit", key=f"edit_{hook.id}"):
            is_open = st.session_state.get("edited_hook") == hook.id
            st.session_state["edited_hook"] = None if is_open else hook.id
            st.rerun()
        with st.popover("Secret", key=f"secret_{hook.id}"):
            st.caption("It signs every request (Standard Webhooks). Who looks at it is on record.")
            if st.button("Show it", key=f"show_{hook.id}"):
                st.code(client.hook_secret(hook.id), language=None, wrap_lines=True)
            if st.button("Make a new one", key=f"rotate_{hook.id}"):
                st.code(client.rotate_hook(hook.id), language=None, wrap_lines=True)
                st.caption("The old one is valid for another 24 hours.")
        if hook.disabled_at is not None:
            if st.button("Turn on", key=f"enable_{hook.id}", type="primary"):
                client.act_on_hook(hook.id, "enable")
                st.rerun()
        else:
            controls.ask_reason(
                "Turn off",
                key=f"disable_{hook.id}",
                act=lambda reason: client.act_on_hook(hook.id, "disable", {"reason": reason}),
                help_text="It is told nothing more. What waits is sent when it is turned on again.",
            )
        with st.popover("Remove", key=f"remove_{hook.id}"):
            st.caption("The address and the log of what it was sent go.")
            if st.button("Remove it", key=f"really_{hook.id}"):
                client.remove_hook(hook.id)
                st.rerun()


def _log(hook: Hook, zone: str, *, may_change: bool) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        status = st.segmented_control(
            "Show", list(STATES), default="", required=True, format_func=STATES.__getitem__, key=f"state_{hook.id}"
        )
    with right:
        if may_change and hook.disabled_at is None and st.button("Send given-up ones again", key=f"again_{hook.id}"):
            now = datetime.now(UTC)
            span: Json = {"since": (now - timedelta(days=30)).isoformat(), "until": now.isoformat()}
            session.client().act_on_hook(hook.id, "replay", {**span, "only_failed": True})
            st.rerun()
    many = st.session_state.setdefault(f"many_{hook.id}", PAGE)
    page = session.client().deliveries(hook.id, status=str(status or ""), limit=many)
    if not page.items:
        st.caption("Nothing yet.")
        return
    controls.table(
        {
            "When": [format.instant(row.created_at, zone) for row in page.items],
            "What": [row.event_type for row in page.items],
            "State": [STATES.get(row.status, words.plain(row.status)) for row in page.items],
            "Tries": [str(row.attempts) for row in page.items],
            "Answer": [_answered(row) for row in page.items],
            "Next try": [format.instant(row.next_at, zone) for row in page.items],
            "Id": [row.event_id for row in page.items],
        }
    )
    if page.next and many < 200 and st.button("Show more", key=f"more_{hook.id}"):
        st.session_state[f"many_{hook.id}"] = min(200, many + PAGE)
        st.rerun()


def _answered(row: Delivery) -> str:
    if row.error:
        return row.error
    return f"{row.http_status} in {row.duration_ms} ms" if row.http_status else format.DASH


def _editor(hook: Hook | None, types: list[EventType]) -> None:
    tag = hook.id if hook else "new"
    meanings = {each.name: each.meaning for each in types}
    with st.form(f"hook_form_{tag}", clear_on_submit=hook is None, border=hook is None):
        url = st.text_input(
            "Address", hook.url if hook else "", key=f"url_{tag}", placeholder="https://shop.example/kairan"
        )
        events = st.multiselect(
            "Tell it about",
            list(meanings),
            hook.events if hook else [],
            format_func=lambda name: f"{name}: {meanings.get(name, '')}",
            key=f"events_{tag}",
        )
        purpose = hook.description if hook else ""
        note = st.text_input("What it is for", purpose, key=f"description_{tag}", max_chars=200)
        phones = st.checkbox(
            "With the person's phone number", hook.include_phone if hook else False, key=f"phones_{tag}"
        )
        pressed = st.form_submit_button("Save" if hook else "Add", type="primary", key=f"save_{tag}")
    if pressed:
        body: Json = {"url": (url or "").strip(), "events": list(events), "description": note or ""}
        body["include_phone"] = phones
        if hook is None:
            session.client().add_hook(body, controls.once_key("hook"))
            controls.done_with("hook")
        else:
            session.client().change_hook(hook.id, body)
            st.session_state["edited_hook"] = None
        st.rerun()


st.title("Webhooks we send")
st.caption(
    "Each fact is sent as a signed POST, at least once, and tried again for three days. A receiver knows a repeated "
    "one by its id. Nothing in it names a person but their contact id, unless you say so."
)
may_change = session.role() == Role.ADMIN
types = session.client().event_types()
known = session.client().hooks()
if not known:
    st.info("Nobody is told anything yet." + (" Add an address below." if may_change else ""))
for hook in known:
    with session.guard(hook.id):
        _card(hook, types, get_settings().time_zone, may_change=may_change)
if may_change:
    with st.expander("New address", icon=":material/add:", expanded=not known), session.guard("new_hook"):
        _editor(None, types)
