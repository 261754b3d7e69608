"""Which groups of people do we have, and who would a new rule catch?"""

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, rule_editor, rules, session
from dashboard.payloads import Audience, Json, Preview
from dashboard.rule_editor import Choices

DRAFT, EDITED, COUNTED = "rule_draft", "edited_audience", "counted_rule"
WEIGHTS = {
    "light": "quick to count",
    "medium": "takes about a second to count",
    "heavy": "takes several seconds to count",
}


def _sentence(audience: Audience, names: dict[str, str]) -> str:
    return rules.sentence(audience.rule, names) if audience.rule else "the people put into it"


def _list(audiences: list[Audience], names: dict[str, str], zone: str) -> None:
    controls.table(
        {
            "Audience": [audience.name for audience in audiences],
            "Who is in it": [_sentence(audience, names) for audience in audiences],
            "People": [format.count(audience.size) for audience in audiences],
            "Reachable": [format.count(audience.reachable) for audience in audiences],
            "Counted": [format.instant(audience.counted_at, zone) for audience in audiences],
        }
    )


def _closer(audiences: list[Audience], names: dict[str, str], zone: str) -> None:
    """One audience: why some of its people cannot be reached, and what may be done with it."""
    by_id = {audience.id: audience for audience in audiences}
    chosen = st.selectbox(
        "Look closer at",
        list(by_id),
        index=None,
        format_func=lambda one: by_id[one].name,
        key="closer",
        placeholder="Choose an audience",
    )
    if chosen is None:
        return
    audience = by_id[chosen]
    st.markdown(f"People who: {markup.markdown_text(_sentence(audience, names))}.")
    if audience.count_error:
        st.warning(audience.count_error)
    if audience.size is None:
        st.info("It is not counted yet; a worker does so within a minute.")
    else:
        st.caption(
            f"{format.count(audience.reachable)} of {format.count(audience.size)} people can get marketing. "
            f"Counted {format.instant(audience.counted_at, zone)}, which took {format.count(audience.count_ms)} ms."
        )
    if audience.unreachable and audience.size:
        controls.reasons_table(audience.unreachable, whole=audience.size, noun="people")
    if not session.may_run_campaigns():
        return
    client = session.people()
    with st.container(horizontal=True):
        if st.button("Count again", key="count_again", icon=":material/refresh:"):
            client.count_audience(audience.id)
            st.toast("A worker counts it; look again in a moment.")
        if audience.rule and st.button("Edit the rule", key="edit_rule", icon=":material/edit:"):
            st.session_state[DRAFT] = rule_editor.draft_of(audience.rule)
            st.session_state[EDITED] = audience.id
            st.rerun()
        with st.popover("Delete", icon=":material/delete:"):
            st.caption("Its people stay. An audience that a campaign or another audience uses cannot be deleted.")
            if st.button("Delete this audience", key="delete_audience", type="primary"):
                client.delete_audience(audience.id)
                st.rerun()


def _preview(preview: Preview) -> None:
    left, right = controls.cells(2, min_width=300)
    with left:
        st.metric("People", format.count(preview.size))
        st.metric("Reachable", format.share(preview.reachable / preview.size) if preview.size else format.DASH)
        st.caption(f"{format.count(preview.reachable)} / {format.count(preview.size)} people")
        st.caption(f"counted in {format.count(preview.took_ms)} ms")
    with right:
        if preview.unreachable:
            controls.reasons_table(preview.unreachable, whole=preview.size, noun="people")
        if preview.sample:
            st.caption("Some of them")
            controls.table(
                {
                    "Name": [person.name or format.DASH for person in preview.sample],
                    "Number": [person.phone_masked or format.DASH for person in preview.sample],
                    "Country": [person.country or format.DASH for person in preview.sample],
                    "Language": [person.language or format.DASH for person in preview.sample],
                }
            )


def _choices(audiences: list[Audience]) -> Choices:
    own = st.session_state.get(EDITED)
    return Choices(
        audiences={audience.id: audience.name for audience in audiences if audience.id != own},
        campaigns={campaign.id: campaign.name for campaign in session.client().campaigns(limit=200).items},
        purposes=[purpose.code for purpose in session.client().purposes()],
        events=[event.name for event in session.people().events()],
        imports={each.id: each.filename for each in session.client().imports()},
        attributes={each.name: (each.kind, each.choices) for each in session.people().attributes()},
    )


def _builder(audiences: list[Audience]) -> None:
    choices = _choices(audiences)
    draft = st.session_state.setdefault(DRAFT, rule_editor.group())
    rule = rule_editor.edit(draft, choices)
    if rule is None:
        st.info("Fill in a condition to see whom it catches.")
        return
    st.markdown(f"People who: {markup.markdown_text(rules.sentence(rule, choices.names))}.")
    with session.guard("rule"):
        cost = session.people().rule_cost(rule)
        people = "1 person" if cost.guess == 1 else f"{format.count(cost.guess)} people"
        st.caption(f"About {people} by the database's guess; {WEIGHTS[cost.weight]}.")
        if st.button("Count them", key="count_rule", icon=":material/groups:"):
            st.session_state[COUNTED] = rule
        if st.session_state.get(COUNTED) == rule:
            _preview(session.client().preview(rule, "marketing"))
        _save(rule, next((each for each in audiences if each.id == st.session_state.get(EDITED)), None))


def _save(rule: Json, edited: Audience | None) -> None:
    with st.form("save_audience", border=False):
        start = edited.name if edited else ""
        name = st.text_input("Save as", value=start, key=f"audience_name_{start}", placeholder="Regulars in Berlin")
        name = (name or "").strip()
        saved = st.form_submit_button(
            "Save the changes" if edited else "Save audience", type="primary", key="save_audience_button"
        )
    if edited and st.button("Leave it as it was", key="leave_rule"):
        _start_afresh()
    if not saved:
        return
    if not name:
        st.warning("Give the audience a name.")
        return
    if edited:
        session.people().change_audience(edited.id, {"name": name, "rule": rule})
    else:
        session.client().create_audience(name, rule, controls.once_key("audience"))
        controls.done_with("audience")
    _start_afresh()


def _start_afresh() -> None:
    for key in (DRAFT, EDITED, COUNTED):
        st.session_state.pop(key, None)
    st.rerun()


st.title("Audiences")
known = session.client().audiences()
zone = get_settings().time_zone
if known:
    names = {audience.id: audience.name for audience in known}
    if session.role() in session.MAY_RUN_CAMPAIGNS:
        names |= {campaign.id: campaign.name for campaign in session.client().campaigns(limit=200).items}
    names |= {each.id: each.filename for each in session.client().imports()}
    _list(known, names, zone)
    with session.guard("closer"):
        _closer(known, names, zone)
else:
    st.info("There is no audience yet. Import a file of contacts, or make a rule below.")
if session.may_run_campaigns():
    editing = next((each for each in known if each.id == st.session_state.get(EDITED)), None)
    st.subheader(f"Edit {editing.name}" if editing else "New audience by rule")
    st.caption("A rule is looked up afresh at every launch: who fits then is in it.")
    _builder(known)
