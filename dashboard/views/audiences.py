"""Which groups of people do we have, and who would a new rule catch?"""

from datetime import datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from dashboard import controls, format, markup, rules, session
from dashboard.payloads import Audience, Json, Preview, Purpose
from dashboard.rules import Row


def _list(audiences: list[Audience], zone: str) -> None:
    names = {audience.id: audience.name for audience in audiences}
    controls.table(
        {
            "Audience": [audience.name for audience in audiences],
            "Who is in it": [
                rules.sentence(audience.rule, names) if audience.rule else "the people put into it"
                for audience in audiences
            ],
            "Kind": ["by rule" if audience.kind == "rule" else "fixed list" for audience in audiences],
            "Made": [format.instant(audience.created_at, zone) for audience in audiences],
        }
    )


def _row(number: int, audiences: list[Audience], purposes: list[Purpose]) -> Row:
    left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
    shown: Literal["visible", "collapsed"] = "visible" if number == 0 else "collapsed"
    with left:
        field = st.selectbox(
            "Field",
            list(rules.FIELDS),
            format_func=rules.FIELDS.__getitem__,
            key=f"field_{number}",
            label_visibility=shown,
        )
    if field == "consent":
        with middle:
            codes = [purpose.code for purpose in purposes] or ["marketing"]
            return Row(field, "", st.selectbox("Purpose", codes, key=f"purpose_{number}", label_visibility=shown))
    if field == "audience":
        with middle:
            chosen = st.selectbox(
                "Is in", audiences, format_func=lambda a: a.name, key=f"in_{number}", label_visibility=shown
            )
            return Row(field, "", chosen.id if chosen else "")
    with middle:
        op = st.selectbox(
            "Condition",
            rules.operators(field),
            format_func=lambda word: rules.operator_words(field, word),
            key=f"op_{number}_{field}",
            label_visibility=shown,
        )
    with right:
        return _operand(number, field, op)


def _operand(number: int, field: str, op: str) -> Row:
    column = ""
    if field == "attributes":
        column = (st.text_input("Column", key=f"column_{number}", placeholder="city") or "").strip()
    if op == "exists":
        return Row(field, op, "", column)
    if field in ("created_at", "last_seen_at"):
        day = st.date_input("Day", key=f"day_{number}", label_visibility="collapsed")
        start = datetime.combine(day, time(), ZoneInfo(get_settings().time_zone)) if day else None
        return Row(field, op, start.isoformat() if start else "", column)
    hint = "DE, AT" if op in ("in", "not_in") else "DE"
    value = st.text_input("Value", key=f"value_{number}", placeholder=hint, label_visibility="collapsed")
    return Row(field, op, (value or "").strip(), column)


def _preview(preview: Preview) -> None:
    left, right = controls.cells(2, min_width=300)
    with left:
        st.metric("People", format.count(preview.size))
        st.metric("Reachable", format.share(preview.reachable / preview.size) if preview.size else format.DASH)
        st.caption(f"{format.count(preview.reachable)} / {format.count(preview.size)} people")
    with right:
        if preview.unreachable:
            controls.reasons_table(preview.unreachable, whole=preview.size, noun="people")
        if preview.sample:
            st.caption("A few of them")
            controls.table(
                {
                    "Name": [person.name or format.DASH for person in preview.sample],
                    "Number": [person.phone_masked or format.DASH for person in preview.sample],
                    "Country": [person.country or format.DASH for person in preview.sample],
                    "Language": [person.language or format.DASH for person in preview.sample],
                }
            )


def _builder(audiences: list[Audience]) -> None:
    client = session.client()
    purposes = client.purposes()
    joined_by = st.segmented_control(
        "People who match",
        ["all", "any"],
        default="all",
        required=True,
        format_func=lambda word: "all of these" if word == "all" else "any of these",
        key="joined_by",
    )
    many = st.session_state.setdefault("rule_rows", 1)
    rows = [_row(number, audiences, purposes) for number in range(many)]
    with st.container(horizontal=True):
        if st.button("Add a condition", key="add_row", icon=":material/add:"):
            st.session_state["rule_rows"] = many + 1
            st.rerun()
        if many > 1 and st.button("Remove the last", key="remove_row", icon=":material/remove:"):
            st.session_state["rule_rows"] = many - 1
            st.rerun()
    rule = rules.tree(rows, str(joined_by))
    names = {audience.id: audience.name for audience in audiences}
    complete = [row for row in rows if rules.is_complete(row)]
    if not complete:
        st.info("Fill in a condition to see whom it catches.")
        return
    st.markdown(f"People where: {markup.markdown_text(rules.sentence(rule, names))}.")
    purpose = next((row.value for row in complete if row.field == "consent"), "marketing")
    _preview(client.preview(rule, purpose))
    _save(rule)


def _save(rule: Json) -> None:
    with st.form("save_audience", border=False):
        name = (st.text_input("Save as", key="audience_name", placeholder="Regulars in Berlin") or "").strip()
        if st.form_submit_button("Save audience", type="primary", key="save_audience_button"):
            if not name:
                st.warning("Give the audience a name.")
                return
            session.client().create_audience(name, rule, controls.once_key("audience"))
            controls.done_with("audience")
            st.rerun()


st.title("Audiences")
known = session.client().audiences()
if known:
    _list(known, get_settings().time_zone)
else:
    st.info("There is no audience yet. Import a file of contacts, or make a rule below.")
if session.may_run_campaigns():
    st.subheader("New audience by rule")
    st.caption("A rule is looked up afresh at every launch: who fits then is in it.")
    _builder(known)
