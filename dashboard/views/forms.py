"""Where can people opt in by themselves, and how many do?"""

import streamlit as st

from core.statuses import Role
from dashboard import controls, format, markup, session, words
from dashboard.oversight_payloads import Form, Notice, Purpose
from dashboard.payloads import Json, Sender

OFFICERS = frozenset({Role.COMPLIANCE, Role.ADMIN})
LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "ja": "Japanese"}
PAGE = 20


def _figures(form: Form) -> None:
    shown = format.DASH if form.shown is None else format.count(form.shown)
    share = format.rate(form.confirmed, form.requested, "filled in")
    facts = (
        ("Looked at", shown, "About; by people, not by programs"),
        ("Filled in", format.count(form.requested), "Codes handed out; nobody has agreed to anything by that"),
        ("Confirmed", format.count(form.confirmed), f"Sent from WhatsApp: these are consents. {share}"),
        ("Did not count", format.count(form.refused), "Codes used before, too old, or sent from another number"),
    )
    for cell, (label, value, meaning) in zip(controls.cells(len(facts), min_width=115), facts, strict=True):
        cell.metric(label, value, help=meaning)


def _untold(form: Form, notices: list[Notice]) -> str:
    """In which of its languages a form has to show a notice written in another one."""
    spoken = {(each.code, each.language.split("-")[0]) for each in notices if each.effective_to is None}
    missing = [
        f"{each.notice} in {LANGUAGES.get(language, language)}"
        for each in form.offers
        for language in form.languages
        if (each.notice, language) not in spoken
    ]
    return f"Notices not written yet, so shown in another language: {', '.join(missing)}." if missing else ""


def _card(form: Form, senders: dict[str, Sender], notices: list[Notice]) -> None:
    with st.container(border=True, key=f"form_{form.id}"):
        state = "" if form.is_active else " · taken down"
        st.markdown(f"**{markup.markdown_text(form.name)}**{state}")
        st.code(form.url, language=None, wrap_lines=True)
        sender = senders.get(form.sender_id)
        offered = ", ".join(f"{words.purpose(each.purpose)} (notice {each.notice})" for each in form.offers)
        facts = [offered, f"sent to {sender.display_number}" if sender else "", _speaks(form)]
        facts += ["asks for the number"] if form.asks_number else []
        st.caption(markup.markdown_text(" · ".join(fact for fact in facts if fact)))
        if untold := _untold(form, notices):
            st.caption(markup.markdown_text(untold))
        _figures(form)
        _use(form)


def _speaks(form: Form) -> str:
    return ", ".join(LANGUAGES.get(each, each) for each in form.languages)


def _use(form: Form) -> None:
    with st.container(horizontal=True, gap="small"):
        if form.is_active:
            st.link_button("Open it", form.url, icon=":material/open_in_new:")
            picture = session.oversight().form_picture(form.id)
            st.download_button("QR code (SVG)", picture, f"{form.slug}.svg", "image/svg+xml", key=f"qr_{form.id}")
            with st.popover("Put it into a page", key=f"embed_{form.id}"):
                st.code(_snippet(form), language="html", wrap_lines=True)
                sites = ", ".join(form.origins)
                st.caption(f"Browsers show it in {sites} only." if sites else "Name the sites that may show it first.")
        if session.role() in OFFICERS:
            if st.button("Edit", key=f"edit_{form.id}"):
                is_open = st.session_state.get("edited_form") == form.id
                st.session_state["edited_form"] = None if is_open else form.id
                st.rerun()
            label = "Take it down" if form.is_active else "Put it up again"
            if st.button(label, key=f"switch_{form.id}"):
                session.oversight().change_form(form.id, {"is_active": not form.is_active})
                st.rerun()


def _snippet(form: Form) -> str:
    return f'<iframe src="{form.url}" title="{form.slug}" width="100%" height="640" style="border:0"></iframe>'


def _editor(form: Form | None, senders: dict[str, Sender], purposes: list[Purpose], notices: list[Notice]) -> None:
    tag = form.id if form else "new"
    boxes = _boxes(purposes, notices)
    with st.form(f"form_{tag}_editor", border=form is None, clear_on_submit=form is None):
        left, right = st.columns(2)
        with left:
            name = st.text_input("Name", form.name if form else "", key=f"name_{tag}", max_chars=100)
            numbers = list(senders)
            place = numbers.index(form.sender_id) if form and form.sender_id in numbers else 0
            number = st.selectbox(
                "People write to", numbers, place, format_func=lambda one: senders[one].display_number, key=f"to_{tag}"
            )
        with right:
            slug = st.text_input(
                "Address, after /o/",
                form.slug if form else "",
                key=f"slug_{tag}",
                disabled=form is not None,
                help="Small letters, digits and hyphens. It never changes, so it can be printed.",
            )
            spoken = st.multiselect(
                "Languages",
                list(LANGUAGES),
                form.languages if form else ["en"],
                format_func=LANGUAGES.__getitem__,
                key=f"languages_{tag}",
                help="The first one is shown to those whose browser asks for none of them.",
            )
        known = [f"{each.purpose}|{each.notice}" for each in form.offers] if form else []
        chosen = st.multiselect(
            "Boxes, none of them ticked",
            list(boxes),
            [each for each in known if each in boxes],
            format_func=boxes.__getitem__,
            key=f"boxes_{tag}",
        )
        sites = st.text_area(
            "Sites that may show it in a frame, one a line",
            "\n".join(form.origins) if form else "",
            key=f"origins_{tag}",
            placeholder="https://shop.example",
            height=80,
        )
        asks = st.checkbox(
            "Ask for the number (optional for visitors)",
            form.asks_number if form else False,
            key=f"asks_{tag}",
            help="Whoever types a number can confirm from that number only.",
        )
        pressed = st.form_submit_button("Save" if form else "Make it", type="primary", key=f"save_{tag}")
    if pressed:
        offers: list[Json] = [dict(zip(("purpose", "notice"), each.split("|"), strict=True)) for each in chosen]
        body: Json = {
            "name": (name or "").strip(),
            "sender_id": str(number or ""),
            "offers": list(offers),
            "languages": list(spoken),
            "origins": [line.strip() for line in (sites or "").splitlines() if line.strip()],
            "asks_number": asks,
        }
        if form is None:
            session.oversight().add_form(body | {"slug": (slug or "").strip()}, controls.once_key("form"))
            controls.done_with("form")
        else:
            session.oversight().change_form(form.id, body)
            st.session_state["edited_form"] = None
        st.rerun()


def _boxes(purposes: list[Purpose], notices: list[Notice]) -> dict[str, str]:
    """What a form may offer: purpose and notice, as its words."""
    asked = {each.code for each in purposes if each.needs_consent}
    return {
        f"{purpose}|{notice.code}": f"{words.purpose(purpose)}, notice {notice.code}"
        for notice in notices
        if notice.effective_to is None
        for purpose in notice.purposes
        if purpose in asked
    }


st.title("Opt-in forms")
st.caption(
    "A page with boxes and no script. Whoever ticks one gets a code and sends it from WhatsApp: only that is consent, "
    "with the best grade of proof. Nobody is written to first."
)
client = session.oversight()
senders = {sender.id: sender for sender in client.senders()}
purposes, notices = client.purposes_in_force(), client.notices()
query = (st.text_input("Search", key="forms_q", placeholder="Name or address") or "").strip()
many = st.session_state.setdefault("forms_many", PAGE)
found = client.forms(query, limit=many)
for form in found.items:
    with session.guard(form.id):
        _card(form, senders, notices)
        if session.role() in OFFICERS and st.session_state.get("edited_form") == form.id:
            _editor(form, senders, purposes, notices)
if not found.items:
    st.info("No form matches." if query else "There is no form yet.")
if found.next and many < 200 and st.button("Show more", key="more_forms"):
    st.session_state["forms_many"] = min(200, many + PAGE)
    st.rerun()
if session.role() in OFFICERS:
    with (
        st.expander("New form", icon=":material/add:", expanded=not found.items and not query),
        session.guard("new_form"),
    ):
        if senders:
            _editor(None, senders, purposes, notices)
        else:
            st.info("Register a number first: people send the code to it.")
