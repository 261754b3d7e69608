"""The values a template needs, asked for one by one, as the API takes them."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import drafts, format, markup
from dashboard.api_client import ApiClient
from dashboard.payloads import Json, Placeholder, Template

SOURCES = {
    "contact.name": "The person's name",
    "contact.attributes": "A column of the imported file",
    "contact.language": "The person's language",
    "contact.country": "The person's country",
    "text": "The same text for everybody",
}
MEDIA = {"image": ["jpg", "jpeg", "png"], "video": ["mp4", "3gp"], "document": ["pdf"]}


def label(placeholder: Placeholder, template: Template) -> str:
    """What the person filling it in sees; for a button its own words."""
    if placeholder.component == "button":
        return f"Button “{_button_text(template, placeholder.index or 0)}”"
    if placeholder.type in MEDIA:
        return f"Header {placeholder.type}"
    shown = f"{{{{{placeholder.name}}}}}"
    example = f" (example: {placeholder.example})" if placeholder.example else ""
    return f"{placeholder.component.capitalize()} {shown}{example}"


def _button_text(template: Template, index: int) -> str:
    for part in template.components:
        buttons = part.get("buttons")
        if isinstance(buttons, list) and index < len(buttons) and isinstance(buttons[index], dict):
            return str(buttons[index].get("text", index + 1))
    return str(index + 1)


def ask(
    template: Template,
    *,
    key: str,
    client: ApiClient,
    sender_id: str,
    given: dict[str, Json],
    for_one: bool = False,
) -> tuple[dict[str, Json], list[str]]:
    """The parameters as the API takes them, and what is still missing in words.

    `given` are a saved draft's; `for_one` says that the message is for one person.
    """
    sources = {**SOURCES, "text": "A text you write"} if for_one else SOURCES
    filled: dict[str, Json] = {}
    missing: list[str] = []
    body = next((part.get("text") for part in template.components if str(part.get("type")).upper() == "BODY"), None)
    if body:
        st.caption(markup.markdown_text(str(body)))
    first_text = next((hole.key for hole in template.placeholders if hole.type == "text"), None)
    for placeholder in template.placeholders:
        title, widget = label(placeholder, template), f"{key}_{template.id}_{placeholder.key}"
        saved = given.get(placeholder.key, {})
        for name, word in drafts.parameters(widget, saved).items():
            st.session_state.setdefault(name, word)
        if placeholder.type in MEDIA:
            value = _ask_media(title, placeholder.type, widget, client, sender_id) or _kept(saved)
        elif placeholder.component == "button":
            value = _ask_button(title, placeholder.type, widget)
        else:
            value = _ask_value(title, widget, sources, is_first=placeholder.key == first_text)
        if value is not None:
            filled[placeholder.key] = value
        elif placeholder.required:
            missing.append(title)
    return filled, missing


def _kept(saved: Json) -> Json | None:
    """The draft's file, unless another is chosen."""
    if "media_id" not in saved:
        return None
    st.caption("The file of the draft is kept unless you choose another.")
    return {"media_id": saved["media_id"]}


def _ask_button(title: str, kind: str, widget: str) -> Json | None:
    if kind == "payload":
        return _ask_text(
            title,
            "payload",
            widget,
            "more-info",
            "Optional. Comes back to us when somebody taps it; `optout` stops all marketing.",
        )
    if kind == "coupon_code":
        return _ask_text(title, "text", widget, "TEA20", "The code the button copies.")
    return _ask_text(title, "link", widget, "https://shop.example/sale", "Opens this page; clicks are counted.")


def _ask_text(title: str, word: str, widget: str, example: str, help_text: str) -> Json | None:
    given = (st.text_input(title, key=widget, placeholder=example, help=help_text) or "").strip()
    return {word: given} if given else None


def _ask_media(title: str, kind: str, widget: str, client: ApiClient, sender_id: str) -> Json | None:
    file = st.file_uploader(title, type=MEDIA[kind], key=widget, help="Stored at WhatsApp for 30 days.")
    if file is None:
        return None
    with st.spinner("Uploading to WhatsApp"):
        media_id = uploaded(file, client, sender_id)
    st.caption(f"{file.name}, {format.size(file.size)}: uploaded.")
    return {"media_id": media_id}


def uploaded(file: UploadedFile, client: ApiClient, sender_id: str) -> str:
    """The id of a file at WhatsApp; it is uploaded once while the page is open."""
    known: dict[str, str] = st.session_state.setdefault("uploaded_media", {})
    if file.file_id not in known:
        known[file.file_id] = client.upload_media(sender_id, file.name, file.getvalue(), file.type).id
    return known[file.file_id]


def _ask_value(title: str, widget: str, sources: dict[str, str], *, is_first: bool) -> Json | None:
    """The first placeholder is most often the name; the others are asked for, so that none is the name by accident."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        source = st.selectbox(
            title,
            list(sources),
            index=0 if is_first else None,
            placeholder="Choose what stands here",
            format_func=sources.__getitem__,
            key=f"{widget}_source",
        )
    if source is None:
        return None
    with right:
        if source == "text":
            text = (st.text_input("Text", key=f"{widget}_text") or "").strip()
            return {"text": text} if text else None
        column = ""
        if source == "contact.attributes":
            column = (st.text_input("Column", key=f"{widget}_column", placeholder="city") or "").strip()
            if not column:
                return None
        fallback = (
            st.text_input("If it is unknown, say", key=f"{widget}_fallback", placeholder="friend") or ""
        ).strip()
    value: Json = {"source": f"{source}.{column}" if column else source}
    return {**value, "fallback": fallback} if fallback else value
