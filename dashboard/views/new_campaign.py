"""What should go to whom, and how fast? Saves a draft; nothing is sent from here."""

from collections.abc import Sequence
from datetime import time

import streamlit as st

from dashboard import controls, parameters, session
from dashboard.payloads import Audience, Json, Sender, Template

MOST_VARIANTS = 4


def _who(audiences: Sequence[Audience], senders: Sequence[Sender]) -> tuple[str, Audience, Sender]:
    st.subheader("1 · Who gets it")
    name = (st.text_input("Name of the campaign", key="name", max_chars=120, placeholder="Autumn sale") or "").strip()
    left, right = st.columns(2)
    with left:
        audience = st.selectbox("Audience", audiences, format_func=lambda a: a.name, key="audience")
    with right:
        sender = st.selectbox("Sender", senders, format_func=lambda s: f"{s.name} ({s.display_number})", key="sender")
    if sender.paused_at:
        st.warning(f"This sender is paused: {sender.pause_reason or 'no reason given'}. You can prepare, not send.")
    return name, audience, sender


def _variant(number: int, templates: Sequence[Template], sender: Sender) -> tuple[Json, Template, list[str]]:
    label = chr(ord("A") + number)
    with st.container(border=True):
        left, right = st.columns([3, 1])
        with left:
            template = st.selectbox(
                f"Template of variant {label}",
                templates,
                format_func=lambda t: f"{t.name} · {t.language} · {t.category}",
                key=f"template_{number}",
            )
        with right:
            weight = st.number_input("Weight", 1, 100, 1, key=f"weight_{number}", help="Relative to the other variants")
        values, missing = parameters.ask(template, key=f"v{number}", client=session.client(), sender_id=sender.id)
    variant: Json = {"label": label, "weight": weight, "template_id": template.id, "parameters": values}
    return variant, template, [f"variant {label}: {what}" for what in missing]


def _what(templates: Sequence[Template], sender: Sender) -> tuple[list[Json], list[Template], list[str]]:
    st.subheader("2 · What they get")
    st.caption("Only templates WhatsApp has approved are listed. Several variants make an A/B test.")
    many = st.number_input("Variants", 1, MOST_VARIANTS, 1, key="variants", width=160)
    asked = [_variant(number, templates, sender) for number in range(int(many))]
    return [v for v, _, _ in asked], [t for _, t, _ in asked], [gap for *_, gaps in asked for gap in gaps]


def _how() -> Json:
    st.subheader("3 · How it goes out")
    holdout = st.slider(
        "Holdout",
        0,
        50,
        5,
        format="%d %%",
        key="holdout",
        help="This share, chosen at random, gets no message. Comparing with them shows what the campaign causes.",
    )
    left, right = st.columns(2)
    with left:
        own_pace = st.toggle("Slower than the sender allows", key="own_pace")
        pace = st.number_input("Messages per minute", 1, 60_000, 600, 60, key="pace") if own_pace else None
    with right:
        quiet = st.toggle("Keep quiet hours", True, key="quiet", help="In the time zone of each recipient")
        window = st.columns(2) if quiet else None
        start = window[0].time_input("Quiet from", time(21), key="quiet_from") if window else None
        end = window[1].time_input("until", time(8), key="quiet_until") if window else None
    return {
        "holdout": holdout / 100,
        "messages_per_minute": int(pace) if pace else None,
        "quiet_from": f"{start:%H:%M}" if start else None,
        "quiet_until": f"{end:%H:%M}" if end else None,
    }


def _gaps(name: str, templates: Sequence[Template], missing: Sequence[str]) -> list[str]:
    gaps = [] if name else ["a name"]
    if len({template.purpose for template in templates}) > 1:
        gaps.append("templates of one purpose: people agree to purposes one by one")
    return [*gaps, *missing]


st.title("New campaign")
client = session.client()
audiences, senders = client.audiences(), client.senders()
approved = [template for template in client.templates() if template.status == "approved"]
if not audiences:
    st.info("There is no audience yet. Import a file of contacts, or make a rule under *Audiences*.")
elif not senders:
    st.info("No sender is registered yet. An administrator registers the business phone number first.")
elif not approved:
    st.info("WhatsApp has approved no template yet. A campaign starts from an approved template.")
if not (audiences and senders and approved):
    st.stop()

name, audience, sender = _who(audiences, senders)
variants, templates, missing = _what(approved, sender)
how = _how()
gaps = _gaps(name, templates, missing)
st.subheader("4 · Look before it leaves")
st.caption("Saving sends nothing. The next page counts who can be reached, what it costs, and shows the message.")
if gaps:
    st.caption(f"Still needed: {'; '.join(gaps)}.")
if st.button("Save and review", type="primary", key="save", disabled=bool(gaps)):
    body: Json = {
        "name": name,
        "purpose": templates[0].purpose,
        "sender_id": sender.id,
        "audience_id": audience.id,
        "variants": variants,
        **how,
    }
    made = client.create_campaign(body, controls.once_key("campaign"))
    controls.done_with("campaign")
    st.switch_page("views/review.py", query_params={"campaign": made.id})
