"""Which templates are there, what did WhatsApp decide about them, and writing a new one."""

import streamlit as st

from core.settings import get_settings
from core.statuses import Category, TemplateStatus
from dashboard import controls, format, markup, session, template_form, words
from dashboard.admin_payloads import Definition, Number
from dashboard.payloads import Json
from dashboard.template_form import Button, Form

PAGE = 20
COLOURS = {
    "approved": "green",
    "draft": "gray",
    "pending": "blue",
    "in_appeal": "blue",
    "flagged": "orange",
    "limit_exceeded": "orange",
    "paused": "orange",
}
LANGUAGES = ("en", "en_US", "en_GB", "de", "ja", "es", "fr", "it", "pt_BR", "pt_PT", "nl", "pl", "tr", "ar", "hi")
QUALITIES = {"GREEN": "high", "YELLOW": "medium", "RED": "low", "UNKNOWN": "not rated yet"}


def _listed(found: list[Definition]) -> list[Definition]:
    """The templates that fit the controls."""
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        query = (st.text_input("Find", key="template_search", type="search", placeholder="Name or words") or "").lower()
    with right:
        status = st.selectbox(
            "Status",
            ["", *sorted({each.status for each in found})],
            format_func=lambda word: words.plain(word) if word else "All",
            key="template_status",
        )
    return [
        each
        for each in found
        if (not status or each.status == status)
        and (not query.strip() or query.strip() in f"{each.name} {each.components}".lower())
    ]


def _row(each: Definition, zone: str) -> None:
    colour = COLOURS.get(each.status, "red")
    with st.container(border=True, key=f"template_{each.id}", gap="xsmall"):
        left, right = st.columns([3, 2])
        with left:
            st.markdown(
                f"**{markup.markdown_text(each.name)}** :gray-badge[{each.language.replace('_', '-')}] "
                f":{colour}-badge[{words.plain(each.status)}]"
            )
            facts = [words.plain(each.category), f"for {words.purpose(each.purpose).lower()}"]
            facts += [f"quality {QUALITIES.get(each.quality.upper(), each.quality)}"] if each.quality else []
            facts += [f"version {each.version}", f"since {format.instant(each.created_at, zone)}"]
            st.caption(markup.markdown_text(" · ".join(facts)))
            if each.status_reason:
                st.warning(markup.markdown_text(f"WhatsApp says: {words.plain(each.status_reason).lower()}."))
            if each.status == TemplateStatus.DRAFT and session.may_run_campaigns():
                _draft_buttons(each)
        with right, st.expander("How it looks", expanded=each.status == TemplateStatus.DRAFT):
            st.html(markup.bubble(template_form.shown(each.components)))


def _draft_buttons(each: Definition) -> None:
    with st.container(horizontal=True, gap="small"):
        if st.button("Submit to WhatsApp", type="primary", key=f"submit_{each.id}"):
            session.admin().submit_template(each.id)
            st.toast("Submitted. WhatsApp decides within minutes, at most a day.")
            st.rerun()
        if st.button("Discard", key=f"discard_{each.id}"):
            session.admin().discard_template(each.id)
            st.rerun()


def _sync(numbers: list[Number]) -> None:
    accounts = {number.waba_id: number for number in numbers}  # one number is enough to ask for its account
    with st.container(horizontal=True, gap="small"):
        for waba_id, number in accounts.items():
            label = "Fetch from WhatsApp" if len(accounts) == 1 else f"Fetch from WhatsApp ({number.name})"
            if st.button(label, key=f"sync_{waba_id}", icon=":material/sync:"):
                done = session.admin().sync_templates(number.id)
                st.toast(f"{done.created} new, {done.updated} changed.")
                st.rerun()


def _button(place: int) -> Button | None:
    kinds = template_form.BUTTONS
    left, middle, right = controls.cells(3, min_width=125)
    with left:
        kind = st.selectbox(
            f"Button {place + 1}", list(kinds), format_func=kinds.__getitem__, key=f"new_button_{place}"
        )
    if not kind:
        return None
    with middle:
        text = st.text_input("Label", key=f"new_label_{place}", max_chars=25) or ""
    target, is_tracked = "", False
    with right:
        if kind == "URL":
            is_tracked = st.checkbox(
                "Count clicks",
                value=True,
                key=f"new_tracked_{place}",
                help="The page is chosen in each campaign; every person gets a link of their own.",
            )
            if not is_tracked:
                target = st.text_input("Address", key=f"new_target_{place}", placeholder="https://shop.example") or ""
        elif kind == "PHONE_NUMBER":
            target = st.text_input("Number", key=f"new_target_{place}", placeholder="+49 30 1234567") or ""
    return Button(kind, text, target, is_tracked)


def _form() -> Form:
    header = st.text_input("Header (optional)", key="new_header", max_chars=60) or ""
    body = (
        st.text_area(
            "Text",
            key="new_body",
            max_chars=1024,
            height=150,
            placeholder="Hello {{1}}, everything is {{2}} off until Sunday.",
            help="{{1}}, {{2}}, … are filled in for each person. *bold*, _italic_ and ~struck~ work as in WhatsApp.",
        )
        or ""
    )
    examples = {
        name: (st.text_input(f"Example for {{{{{name}}}}}", key=f"new_example_{name}") or "").strip()
        for name in template_form.holes(body)
    }
    footer = st.text_input("Footer (optional)", key="new_footer", max_chars=60) or ""
    buttons = [made for place in range(template_form.MOST_BUTTONS) if (made := _button(place)) is not None]
    return Form(body, header, footer, buttons, examples)


def _new(numbers: list[Number]) -> None:
    with st.expander("Write a new template", icon=":material/add:", key="new_template"):
        names, right = controls.cells(2, min_width=400)
        with names:
            name = (st.text_input("Name", key="new_name", placeholder="autumn_sale", max_chars=512) or "").strip()
            columns = controls.cells(3, min_width=125)
            with columns[0]:
                language = st.selectbox("Language", LANGUAGES, key="new_language", accept_new_options=True)
            with columns[1]:
                category = st.selectbox(
                    "Category", [each.value for each in Category if each is not Category.SERVICE],
                    format_func=words.plain, key="new_category",
                )  # fmt: skip
            with columns[2]:
                purposes = [each.code for each in session.client().purposes()]
                purpose = st.selectbox("Purpose", purposes, format_func=words.purpose, key="new_purpose")
            number = numbers[0]
            if len(numbers) > 1:
                number = st.selectbox("Account of", numbers, format_func=lambda one: one.name, key="new_number")
            form = _form()
        parts = template_form.components(form, links_url=get_settings().links_url)
        with right:
            st.caption("This is what people will see.")
            st.html(markup.bubble(template_form.shown(parts)))
        body: Json = {
            "sender_id": number.id,
            "name": name,
            "language": language,
            "category": category,
            "purpose": purpose,
            "components": parts,
        }
        _save(body, is_ready=bool(name and form.body.strip()))


def _save(body: Json, *, is_ready: bool) -> None:
    with st.container(horizontal=True, gap="small"):
        draft = st.button("Save as draft", key="save_draft", disabled=not is_ready)
        submit = st.button("Submit to WhatsApp", type="primary", key="submit_new", disabled=not is_ready)
    if not is_ready:
        st.caption("A name and a text are needed.")
    if draft or submit:
        session.admin().add_template({**body, "draft": draft}, controls.once_key(f"template_{body}"))
        controls.done_with(f"template_{body}")
        for key in [key for key in st.session_state if str(key).startswith("new_")]:
            del st.session_state[key]
        st.toast("Kept as a draft." if draft else "Submitted. WhatsApp decides within minutes, at most a day.")
        st.rerun()


st.title("Templates")
st.caption("Outside the 24 hours after somebody wrote, WhatsApp delivers only what it has approved as a template.")
numbers = session.admin().numbers()
found = session.admin().definitions()
if not numbers:
    st.info("Register a number first: templates belong to its account.")
    if session.may_run_campaigns():
        st.page_link("views/numbers.py", label="Register a number", icon=":material/add_call:")
elif session.may_run_campaigns():
    _sync(numbers)
    with session.guard("new"):
        _new(numbers)
if found:
    listed = _listed(found)
    many = st.session_state.setdefault("templates_many", PAGE)
    for each in listed[:many]:
        with session.guard(f"template_{each.id}"):
            _row(each, get_settings().time_zone)
    if not listed:
        st.info("No template fits.")
    if len(listed) > many and st.button("Show more", key="more_templates"):
        st.session_state["templates_many"] = many + PAGE
        st.rerun()
elif numbers:
    st.info("There is no template yet. Fetch what WhatsApp has, or write one.")
