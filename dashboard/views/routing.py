"""What is answered by itself when somebody writes?"""

from datetime import datetime, time
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from core.statuses import Role
from dashboard import answering, controls, markup, session, words
from dashboard.chat_payloads import Actions, Conditions, Hours, Rehearsal, RoutingRule, Wording
from dashboard.payloads import Json

MAY_WORD = frozenset({Role.ADMIN, Role.MARKETER, Role.COMPLIANCE})
OFFICE = Hours(["mon", "tue", "wed", "thu", "fri"], "09:00", "17:00")
LONGEST_PAUSE = 10_080


def _rules(rules: list[RoutingRule], *, may_change: bool) -> None:
    st.caption(
        "Stops, starts and help are answered before any rule. Then the rules are tried from the top: the first that "
        "fits decides. Nobody gets the same answer twice within its pause, and nobody more than eight in an hour."
    )
    if not rules:
        st.info(
            "There is no rule yet. Everything people write waits in the inbox. With a rule, Kairan answers by itself: "
            "when a word is written, a button is tapped, it is outside your hours, or somebody writes for the first "
            "time. A rule can also tag the person, or ask for one of you."
        )
        if may_change and st.button("Write the first rule", type="primary", key="first_rule", icon=":material/add:"):
            st.session_state["first_rule_open"] = True
    for rule in rules:
        with st.container(border=True, key=f"rule_{rule.id}"):
            left, right = st.columns([4, 3], vertical_alignment="center")
            with left:
                off = "" if rule.enabled else " &nbsp; `off`"
                st.markdown(f"**{rule.position}. {markup.markdown_text(rule.name)}**{off}")
                st.markdown(markup.markdown_text(f"When {answering.when(rule.conditions)}:"))
                st.markdown(markup.markdown_text(f"→ {answering.then(rule.actions)}"))
            with right:
                if may_change:
                    _rule_buttons(rule)
            if may_change and st.session_state.get("edited_rule") == rule.id:
                _editor(rule)


def _rule_buttons(rule: RoutingRule) -> None:
    client = session.client()
    with st.container(horizontal=True, gap="small"):
        if st.button("Edit", key=f"edit_{rule.id}"):
            is_open = st.session_state.get("edited_rule") == rule.id
            st.session_state["edited_rule"] = None if is_open else rule.id
            st.rerun()
        if st.button("Turn off" if rule.enabled else "Turn on", key=f"switch_{rule.id}"):
            client.change_rule(rule.id, answering.switched(rule, enabled=not rule.enabled))
            st.rerun()
        if st.button("Up", key=f"up_{rule.id}", disabled=rule.position == 1):
            client.move_rule(rule.id, rule.position - 1)
            st.rerun()
        if st.button("Remove", key=f"remove_{rule.id}"):
            client.remove_rule(rule.id)
            st.rerun()


def _editor(rule: RoutingRule | None) -> None:
    """A form for a rule there is, or a new one."""
    known = rule.conditions if rule else Conditions()
    actions = rule.actions if rule else Actions()
    tag = rule.id if rule else "new"
    opened = known.outside_hours or OFFICE
    with st.form(f"rule_form_{tag}", border=rule is None, clear_on_submit=rule is None):
        name = st.text_input("Name", rule.name if rule else "", key=f"name_{tag}", max_chars=100) or ""
        st.markdown("**When** all of this is so (what is left empty does not matter)")
        left, right = st.columns(2)
        with left:
            said = st.text_area(
                "The text holds one of these words", ", ".join(known.words), key=f"words_{tag}", height=70,
                placeholder="delivery, shipping",
            )  # fmt: skip
            exact = st.checkbox("and nothing else", known.match == "equals", key=f"exact_{tag}")
            payloads = st.text_input(
                "A button with this payload", ", ".join(known.payloads), key=f"payloads_{tag}", placeholder="menu:*"
            )
        with right:
            first = st.checkbox("It is the person's first message", known.first_message, key=f"first_{tag}")
            spoken = st.text_input(
                "The person's language", ", ".join(known.languages), key=f"languages_{tag}", placeholder="de, pt"
            )
            outside = st.checkbox("Nobody is there: outside", known.outside_hours is not None, key=f"outside_{tag}")
            days = st.multiselect(
                "Days", list(answering.DAYS), opened.days, format_func=answering.DAYS.__getitem__, key=f"days_{tag}"
            )
            begin, end = st.columns(2)
            opens = begin.time_input("From", time.fromisoformat(opened.from_), key=f"opens_{tag}")
            closes = end.time_input("Until", time.fromisoformat(opened.until), key=f"closes_{tag}")
        st.markdown("**Then**")
        reply = st.text_area(
            "Answer (may hold {name} and {brand})", actions.reply or "", key=f"reply_{tag}", max_chars=1000, height=90
        )
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        with left:
            mark = st.text_input("Tag the contact", actions.tag or "", key=f"tag_{tag}", max_chars=60)
        with middle:
            pause = st.number_input(
                "Pause per person (minutes)", 1, LONGEST_PAUSE, rule.pause_minutes if rule else 60, key=f"pause_{tag}"
            )
        with right:
            hands = st.checkbox("Hand over to a person", actions.hand_over, key=f"hand_{tag}")
        pressed = st.form_submit_button("Save rule" if rule else "Add rule", type="primary", key=f"save_{tag}")
    if pressed:
        body = answering.body(
            name=name, words=said or "", is_exact=exact, payloads=payloads or "", days=days, opens=opens or time(9),
            closes=closes or time(17), outside=outside, first=first, languages=spoken or "", reply=reply or "",
            tag=mark or "", hand_over=hands, pause_minutes=int(pause or 60), enabled=rule.enabled if rule else True,
        )  # fmt: skip
        _save(rule, body)


def _save(rule: RoutingRule | None, body: Json) -> None:
    if rule is None:
        session.client().add_rule(body, controls.once_key("rule"))
        controls.done_with("rule")
    else:
        session.client().change_rule(rule.id, body)
        st.session_state["edited_rule"] = None
    st.rerun()


def _rehearsal() -> None:
    st.caption("Nothing is sent and nothing is recorded.")
    left, right = st.columns(2)
    with left:
        text = st.text_input("If somebody wrote", key="try_text", placeholder="When is the delivery?") or ""
        payload = st.text_input("or tapped a button with the payload", key="try_payload") or ""
    with right:
        language = st.text_input("The person's language", key="try_language", placeholder="en") or ""
        zone = ZoneInfo(get_settings().time_zone)
        day = st.date_input("On", key="try_day")
        clock = st.time_input(f"at ({get_settings().time_zone})", time(12), key="try_time")
    first = st.checkbox("for the first time", key="try_first")
    if not text.strip() and not payload.strip():
        st.info("Write something to see what would happen.")
        return
    body: Json = {"first_message": first}
    body |= {"text": text.strip()} if text.strip() else {}
    body |= {"payload": payload.strip()} if payload.strip() else {}
    body |= {"language": language.strip()} if language.strip() else {}
    body |= {"at": datetime.combine(day, clock, zone).isoformat()} if day and clock else {}
    _outcome(session.client().rehearse(body))


def _outcome(found: Rehearsal) -> None:
    effect = f"{found.effect} (“{found.word}”)" if found.word else found.effect
    (st.info if found.intent == "reply" else st.warning)(markup.markdown_text(effect))
    if found.rule:
        done = answering.then(Actions(found.reply, found.tag, found.hands_over))
        st.success(markup.markdown_text(f"The rule “{found.rule}” fits: {done}"))
    elif found.intent == "reply":
        st.markdown("No rule fits: it waits in the inbox.")
    if found.tried:
        controls.table(
            {
                "Rule": [each.name for each in found.tried],
                "Fits": ["; ".join(each.misses) if each.misses else "yes" for each in found.tried],
            }
        )


def _wordings(known: list[Wording], *, may_change: bool) -> None:
    kinds = [kind for kind in words.REPLIES if any(each.kind == kind for each in known)]
    left, right = st.columns(2)
    with left:
        kind = st.selectbox("Answer", kinds, format_func=lambda one: words.REPLIES[one][0].replace("*", ""), key="kind")
    with right:
        languages = [each.language for each in known if each.kind == kind]
        start = languages.index("en") if "en" in languages else 0
        language = st.selectbox("Language", languages, index=start, key="wording_language")
    chosen = next(each for each in known if (each.kind, each.language) == (kind, language))
    meaning = words.REPLIES[chosen.kind][1]
    st.caption(f"{meaning[:1].upper()}{meaning[1:]}. {'Your own wording.' if chosen.is_own else 'Built in.'}")
    with st.form(f"wording_{kind}_{language}"):
        text = st.text_area("Text", chosen.body, key=f"text_{kind}_{language}", max_chars=1000, disabled=not may_change)
        st.caption("Filled in: " + ", ".join(f"`{{{name}}}`" for name in chosen.placeholders))
        labels = [
            st.text_input(f"Button {at}", label, key=f"button_{kind}_{language}_{at}", max_chars=20) or ""
            for at, label in enumerate(chosen.buttons, start=1)
        ]
        pressed = st.form_submit_button("Save wording", type="primary", key="save_wording", disabled=not may_change)
    if pressed:
        session.client().put_wording(chosen.kind, chosen.language, text or "", labels)
        st.rerun()
    if chosen.is_own and may_change and st.button("Back to the built-in wording", key="reset_wording"):
        session.client().reset_wording(chosen.kind, chosen.language)
        st.rerun()


st.title("Automatic answers")
rules_tab, try_tab, wording_tab = st.tabs(["Rules", "Try it", "Wording"])
with rules_tab, session.guard("rules"):
    may_change = session.may_run_campaigns()
    _rules(session.client().rules(), may_change=may_change)
    if may_change:
        with st.expander(
            "New rule", icon=":material/add:", expanded=bool(st.session_state.pop("first_rule_open", False))
        ):
            _editor(None)
with try_tab, session.guard("try"):
    _rehearsal()
with wording_tab, session.guard("wording"):
    _wordings(session.client().wordings(), may_change=session.role() in MAY_WORD)
