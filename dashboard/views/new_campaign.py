"""What should go to whom, and how fast? Saves a draft; nothing is sent from here."""

from collections.abc import Sequence

import streamlit as st

from dashboard import controls, drafts, parameters, session
from dashboard.campaign_payloads import Campaign
from dashboard.payloads import Audience, Json, Sender, Template


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


def _variant(
    number: int, templates: Sequence[Template], sender: Sender, draft: Campaign | None
) -> tuple[Json, Template, list[str]]:
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
            weight = st.number_input(
                "Weight", 1, 1000, step=1, key=f"weight_{number}", help="Relative to the other variants"
            )
        saved = draft.variants[number] if draft and number < len(draft.variants) else None
        given = saved.parameters if saved and saved.template_id == template.id else {}
        key = f"v{number}_{draft.id if draft else 'new'}"
        values, missing = parameters.ask(template, key=key, client=session.client(), sender_id=sender.id, given=given)
    variant: Json = {"label": label, "weight": weight, "template_id": template.id, "parameters": values}
    return variant, template, [f"variant {label}: {what}" for what in missing]


def _what(
    templates: Sequence[Template], sender: Sender, draft: Campaign | None
) -> tuple[list[Json], list[Template], list[str]]:
    st.subheader("2 · What they get")
    st.caption("Only templates WhatsApp has approved are listed. Several variants make an A/B test.")
    many = st.number_input("Variants", 1, len(drafts.LABELS), step=1, key="variants", width=160)
    asked = [_variant(number, templates, sender, draft) for number in range(int(many))]
    return [v for v, _, _ in asked], [t for _, t, _ in asked], [gap for *_, gaps in asked for gap in gaps]


def _how() -> Json:
    st.subheader("3 · How it goes out")
    holdout = st.slider(
        "Holdout",
        0,
        50,
        format="%d %%",
        key="holdout",
        help="This share, chosen at random, gets no message. Comparing with them shows what the campaign causes.",
    )
    left, right = st.columns(2)
    with left:
        own_pace = st.toggle("Slower than the sender allows", key="own_pace")
        pace = st.number_input("Messages per minute", 1, 60_000, step=60, key="pace") if own_pace else None
    with right:
        quiet = st.toggle("Keep quiet hours", key="quiet", help="In the time zone of each recipient")
        window = st.columns(2) if quiet else None
        start = window[0].time_input("Quiet from", key="quiet_from") if window else None
        end = window[1].time_input("until", key="quiet_until") if window else None
    return {
        "holdout": holdout / 100,
        "messages_per_minute": int(pace) if pace else None,
        "quiet_from": f"{start:%H:%M}" if start else None,
        "quiet_until": f"{end:%H:%M}" if end else None,
        "canary": _canary(),
    }


def _canary() -> Json | None:
    """A few people first; without thresholds a person decides about the rest."""
    told = "They go first; the rest waits until you have seen how they took it. Kept through any crash."
    if not st.toggle("A few people first, then wait for a verdict", key="canary", help=told):
        return None
    left, right = st.columns(2)
    with left:
        kinds = [drafts.PEOPLE_FIRST, drafts.DEFAULT_SHARE]
        kind = st.segmented_control("How many", kinds, key="canary_kind", required=True)
        if kind == drafts.PEOPLE_FIRST:
            size: Json = {"people": int(st.number_input("People", 1, 10_000_000, step=100, key="canary_people"))}
        else:
            size = {
                "share": st.slider("Share of those who get a message", 1, 50, format="%d %%", key="canary_share") / 100
            }
    with right:
        alone = st.toggle("Go on alone when all is well", key="canary_alone")
        return {**size, "thresholds": _thresholds()} if alone else size


def _thresholds() -> Json:
    minutes = st.number_input("Minutes after the last of them", 1, 10_080, step=10, key="canary_after_minutes")
    delivered = st.slider("At least delivered", 0, 100, format="%d %%", key="canary_min_delivered")
    failed = st.slider("At most failed", 0, 100, format="%d %%", key="canary_max_failed")
    opted_out = st.slider("At most opted out", 0, 100, format="%d %%", key="canary_max_opt_out")
    return {
        "after_minutes": int(minutes),
        "min_delivered": delivered / 100,
        "max_failed": failed / 100,
        "max_opt_out": opted_out / 100,
    }


def _draft() -> Campaign | None:
    """The saved draft the address names; None for a new campaign."""
    campaign_id = st.query_params.get("campaign")
    if not campaign_id:
        return None
    draft = session.client().campaign(campaign_id)
    if draft.status not in ("draft", "in_review"):
        st.info("This campaign is launched or scheduled: it can no longer be changed.")
        st.page_link("views/live.py", label="Watch it live", query_params={"campaign": draft.id})
        st.stop()
    return draft


def _lay_out(draft: Campaign | None, widgets: drafts.Widgets) -> None:
    """Fill the form once per draft; a widget that was out of sight gets its value back."""
    shown = draft.id if draft else "new"
    if st.session_state.get("form_of") != shown:
        st.session_state.update(widgets)
        st.session_state["form_of"] = shown
    for name, value in widgets.items():
        st.session_state.setdefault(name, value)


def _discard(draft: Campaign) -> None:
    with st.popover("Discard this draft", key="discard_open"):
        st.caption("Nothing of it has been sent. It cannot be brought back.")
        if st.button("Discard", key="discard"):
            session.client().discard_campaign(draft.id)
            st.session_state.pop("form_of", None)
            st.switch_page("views/campaigns.py")


def _gaps(name: str, templates: Sequence[Template], missing: Sequence[str]) -> list[str]:
    gaps = [] if name else ["a name"]
    if len({template.purpose for template in templates}) > 1:
        gaps.append("templates of one purpose: people agree to purposes one by one")
    return [*gaps, *missing]


draft = _draft()
st.title("Change the draft" if draft else "New campaign")
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

_lay_out(draft, drafts.of(draft, audiences, senders, approved) if draft else drafts.blank())
if draft:
    _discard(draft)
name, audience, sender = _who(audiences, senders)
variants, templates, missing = _what(approved, sender, draft)
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
    made = (
        client.change_campaign(draft.id, body) if draft else client.create_campaign(body, controls.once_key("campaign"))
    )
    controls.done_with("campaign")
    st.session_state.pop("form_of", None)
    st.session_state.pop("reviews", None)
    st.switch_page("views/review.py", query_params={"campaign": made.id})
