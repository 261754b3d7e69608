"""Who wrote to us, and what do we answer?"""

from datetime import UTC, datetime
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.settings import get_settings
from dashboard import chat, controls, format, markup, parameters, session, words
from dashboard.chat_payloads import Conversation, Offer
from dashboard.payloads import Template

PAGE = 20
LINES = 50
MOST_PICTURES = 40  # kept in memory while somebody looks
MOST = 200  # the API's largest page
SHOWN = {"open": "Open", "mine": "Mine", "nobody": "Unassigned", "closed": "Closed"}


def _title(row: Conversation) -> str:
    return row.name or row.phone_masked or "No name"


def _filters(shown: str, query: str) -> dict[str, str]:
    """What the API is asked for; a search looks in open and closed ones."""
    return {
        "status": "" if query else "closed" if shown == "closed" else "open",
        "assignee": {"mine": "me", "nobody": "nobody"}.get(shown, ""),
        "q": query,
    }


def _controls() -> tuple[str, str]:
    """Which conversations are asked for, and the words to search."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        shown = st.segmented_control(
            "Show", list(SHOWN), default="open", required=True, format_func=SHOWN.__getitem__, key="inbox_shown"
        )
    with right:
        query = st.text_input("Search", key="inbox_search", type="search", placeholder="Name, number or words") or ""
    return str(shown), query.strip()


def _list(shown: str, query: str, zone: str) -> str | None:
    """The conversations that fit the controls; returns the chosen one's id."""
    many = st.session_state.setdefault("inbox_many", PAGE)
    filters = _filters(shown, query)
    found = session.client().conversations(
        status=filters["status"], assignee=filters["assignee"], q=filters["q"], limit=many
    )
    if not found.items:
        st.info("Nothing matches." if query else "Nobody is waiting. When people write, they appear here.")
    chosen = st.query_params.get("conversation")
    for row in found.items:
        _row(row, zone, is_chosen=row.id == chosen)
    if found.next and many < MOST and st.button("Show more", key="inbox_more"):
        st.session_state["inbox_many"] = min(MOST, many + PAGE)
        st.rerun()
    if found.items:
        read = partial(session.client().conversations_csv, filters)
        controls.csv_button("Save this list as CSV", read, "conversations.csv", key="inbox_csv")
    return chosen


def _row(row: Conversation, zone: str, *, is_chosen: bool) -> None:
    label = f"**{markup.markdown_text(_title(row))}**"
    label += f" :blue-badge[{row.unread} new]" if row.unread else ""
    label += " :orange-badge[wants a person]" if row.handed_over else ""
    with st.container(border=True, key=f"row_{row.id}", gap="xsmall"):
        if st.button(label, key=f"open_{row.id}", type="secondary" if is_chosen else "tertiary"):
            st.query_params["conversation"] = row.id
            if row.unread:
                session.client().act_on_conversation(row.id, "read")
            st.rerun()
        words_said = (row.last_words or "").replace("\n", " ")
        short = markup.markdown_text(words_said[:80] + ("…" if len(words_said) > 80 else ""))
        st.caption(short or f"*{chat.kind_words(row.last_type)}*")
        facts = [format.instant(row.last_inbound_at, zone)]
        facts += [f"about {row.campaign}"] if row.campaign else []
        facts += [row.assignee] if row.assignee else []
        if row.refusals:
            facts.append(words.refusal(row.refusals[0].purpose, row.refusals[0].why).lower())
        st.caption(markup.markdown_text(" · ".join(facts)))


def _open(conversation_id: str, zone: str) -> None:
    client = session.client()
    row = client.conversation(conversation_id)
    st.subheader(_title(row), anchor=False)
    facts = [row.phone_masked or "no number", f"to {row.sender}"]
    facts += [f"answers the campaign {row.campaign}"] if row.campaign else []
    st.caption(markup.markdown_text(" · ".join(facts)))
    controls.contact_link(row.contact_id)
    for refused in row.refusals:
        st.warning(f"{words.refusal(refused.purpose, refused.why)}.", icon=":material/block:")
    _handle(row)
    st.fragment(_lines, run_every=5)(row, zone)
    _answer(row, zone)
    _template(row, is_open=row.window_ends_at <= datetime.now(UTC))


def _lines(row: Conversation, zone: str) -> None:
    many = st.session_state.setdefault("lines_many", LINES)
    page = session.client().thread(row.id, many)
    if page.next and many < MOST and st.button("Earlier messages", key="earlier"):
        st.session_state["lines_many"] = min(MOST, many + LINES)
        st.rerun()
    files = [line for line in page.items if line.file is not None]
    pictures = {line.id: chat.picture(line, _content(row.id, line.id)) for line in files if chat.is_picture(line)}
    st.html(chat.thread(page.items, zone, pictures))
    stored = [line for line in files if line.file and line.file.status == "stored"]
    if not stored:
        return
    with st.popover(f"Files ({len(stored)})", icon=":material/attach_file:"):
        for line in stored:
            st.download_button(
                f"{chat.file_words(line)} · {format.instant(line.at, zone)}",
                partial(session.client().file_of, row.id, line.id),
                file_name=chat.file_name(line),
                mime="application/octet-stream",
                key=f"file_{line.id}",
            )


def _content(conversation_id: str, line_id: str) -> bytes:
    """A picture, fetched once while the page is open."""
    kept: dict[str, bytes] = st.session_state.setdefault("inbox_pictures", {})
    if line_id not in kept:
        if len(kept) >= MOST_PICTURES:
            kept.clear()
        kept[line_id] = session.client().file_of(conversation_id, line_id)
    return kept[line_id]


def _handle(row: Conversation) -> None:
    """Who looks after it, and whether it is done."""
    client = session.client()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        agents = {agent.id: agent.name for agent in client.agents()}
        options = ["", *agents]
        key = f"assignee_{row.id}_{row.assignee_id or ''}"
        given = st.selectbox(
            "Looked after by",
            options,
            index=options.index(row.assignee_id) if row.assignee_id in agents else 0,
            format_func=lambda one: agents.get(one, "nobody yet"),
            key=key,
        )
        if (given or None) != row.assignee_id:
            client.act_on_conversation(row.id, "assign", {"user_id": given or None})
            st.rerun()
    with right:
        verb = "close" if row.status == "open" else "reopen"
        if st.button("Done" if verb == "close" else "Open again", key=f"{verb}_conversation", width="stretch"):
            client.act_on_conversation(row.id, verb)
            st.rerun()


def _answer(row: Conversation, zone: str) -> None:
    if row.window_ends_at <= datetime.now(UTC):
        st.info(
            f"Free answers were allowed until {format.instant(row.window_ends_at, zone)}, 24 hours after the last "
            "message. Until the person writes again, only a template can be sent."
        )
        return
    done = st.session_state.setdefault("answers_done", {}).get(row.id, 0)  # after each the fields are new, so empty
    with st.form(f"answer_{row.id}", border=False):
        text = st.text_area("Answer", key=f"answer_text_{row.id}_{done}", max_chars=4096, height=100) or ""
        file = st.file_uploader(
            "Picture, video or document",
            type=list(chat.ANSWER_FILES),
            max_upload_size=chat.LARGEST_MB,
            key=f"answer_file_{row.id}_{done}",
            help="Pictures to 5 MB, videos to 16 MB, documents to 100 MB. What you write stands under it.",
        )
        left, right = st.columns([3, 1], vertical_alignment="center")
        with left:
            st.caption(f"Free answers may be sent until {format.instant(row.window_ends_at, zone)}.")
        with right:
            pressed = st.form_submit_button("Send", type="primary", key="answer_button", width="stretch")
    if pressed and not text.strip() and file is None:
        st.warning("Write something first, or choose a file.")
    elif pressed:
        _send(row, text, file)
        st.session_state["answers_done"][row.id] = done + 1
        st.rerun()


def _send(row: Conversation, text: str, file: UploadedFile | None) -> None:
    media_id = None
    if file is not None:
        with st.spinner("Uploading to WhatsApp"):
            media_id = parameters.uploaded(file, session.client(), row.sender_id)
    session.client().answer(row.id, text, controls.once_key(f"answer_{row.id}"), media_id)
    controls.done_with(f"answer_{row.id}")


def _template(row: Conversation, *, is_open: bool) -> None:
    """A template to this person: only those the person allows can be chosen."""
    with st.expander("Send a template", expanded=is_open, key=f"template_{row.id}"), session.guard("template"):
        offers = session.client().offers(row.id)
        allowed = [offer for offer in offers if offer.refusal is None]
        refused = {offer.purpose: offer for offer in offers if offer.refusal is not None}
        for purpose, offer in refused.items():
            named = sum(each.purpose == purpose for each in offers)
            many = "1 template" if named == 1 else f"{named} templates"
            st.caption(f"{words.purpose(purpose)}: {many} cannot be sent, because {offer.refusal_words}.")
        if not offers:
            st.caption("There is no approved template for this number.")
        if not allowed:
            return
        chosen = st.selectbox(
            "Template",
            allowed,
            index=None if len(allowed) > 1 else 0,
            placeholder="Choose a template",
            format_func=lambda one: f"{one.name} · {one.language} · {words.purpose(one.purpose).lower()}",
            key=f"offer_{row.id}",
        )
        if chosen is not None:
            _fill(row, chosen)


def _fill(row: Conversation, offer: Offer) -> None:
    template = Template(
        offer.template_id,
        offer.name,
        offer.language,
        offer.category,
        offer.purpose,
        "approved",
        offer.components,
        offer.placeholders,
    )
    given, missing = parameters.ask(
        template, key=f"chat_{row.id}", client=session.client(), sender_id=row.sender_id, given={}, for_one=True
    )
    if missing:
        st.caption(markup.markdown_text(f"Still needed: {', '.join(missing)}."))
    if st.button("Send the template", type="primary", key="send_template", disabled=bool(missing)):
        session.client().send_template(row.id, offer.template_id, given, controls.once_key(f"template_{row.id}"))
        controls.done_with(f"template_{row.id}")
        st.toast("The template is on its way.")
        st.rerun()


st.title("Inbox")
zone = get_settings().time_zone
shown, query = _controls()
left, right = st.columns([2, 3], gap="medium")
chosen = None
with left, session.guard("list"):
    chosen = _list(shown, query, zone)
with right, session.guard("thread"):
    if chosen:
        _open(chosen, zone)
    else:
        st.info("Choose a conversation on the left.")
