"""The visual editor of a rule: groups inside groups, one condition a line; returns the API's filter tree.

A draft is a tree of plain dictionaries in the session. Every node has a number of its own that its widgets are keyed
by, so that removing one leaves what was typed into the others.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from core.settings import get_settings
from dashboard import controls, rules
from dashboard.payloads import Json
from dashboard.rules import Row

DEEPEST = 3
JOINS = {"all": "all of these", "any": "any of these", "none": "none of these"}
BOOLEANS = {"true": "yes", "false": "no"}
Node = dict[str, Any]
_numbers = count(1)


@dataclass(frozen=True)
class Choices:
    """What conditions may name: audiences, campaigns and imports by id, purposes, attributes with kind and choices."""

    audiences: dict[str, str] = field(default_factory=dict)
    campaigns: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    purposes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    attributes: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        return self.audiences | self.campaigns | self.imports


def condition(given: Json | None = None) -> Node:
    """A line of the editor, filled in with a rule's leaf."""
    return {"id": next(_numbers), "leaf": given or {}}


def group(join: str = "all", parts: list[Node] | None = None) -> Node:
    return {"id": next(_numbers), "join": join, "parts": parts if parts is not None else [condition()]}


def draft_of(rule: object) -> Node:
    """A draft that stands for a rule; what the editor has no line for is kept as it is."""
    node = _node(rule)
    return node if "parts" in node else group("all", [node])


def _node(rule: object) -> Node:
    if not isinstance(rule, dict):
        return condition()
    for join in ("all", "any"):
        if isinstance(rule.get(join), list):
            return group(join, [_node(part) for part in rule[join]])
    if "not" in rule:
        inner = rule["not"]
        parts = inner["any"] if isinstance(inner, dict) and isinstance(inner.get("any"), list) else [inner]
        return group("none", [_node(part) for part in parts])
    return condition(rule)


def edit(root: Node, choices: Choices) -> Json | None:
    """Draw the draft; the filter tree of its complete lines, or None while there is none."""
    return _group(root, choices, 0, None)


def _group(node: Node, choices: Choices, depth: int, parent: Node | None) -> Json | None:
    number = node["id"]
    with st.container(border=True, key=f"group_{number}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            join = st.segmented_control(
                "People who match",
                list(JOINS),
                default=node["join"],
                required=True,
                format_func=JOINS.__getitem__,
                key=f"join_{number}",
                label_visibility="visible" if depth == 0 else "collapsed",
            )
            if parent is not None and st.button("Remove group", key=f"remove_{number}", icon=":material/close:"):
                parent["parts"].remove(node)
                st.rerun()
        found: list[Json] = []
        for part in list(node["parts"]):
            drawn = _group(part, choices, depth + 1, node) if "parts" in part else _line(part, choices, node)
            if drawn is not None:
                found.append(drawn)
        with st.container(horizontal=True):
            if st.button("Condition", key=f"add_condition_{number}", icon=":material/add:"):
                node["parts"].append(condition())
                st.rerun()
            if depth < DEEPEST and st.button("Group", key=f"add_group_{number}", icon=":material/account_tree:"):
                node["parts"].append(group("any"))
                st.rerun()
    if not found:
        return None
    return {"not": {"any": found}} if join == "none" else {str(join): found}


def _line(node: Node, choices: Choices, parent: Node) -> Json | None:
    number, leaf = node["id"], node["leaf"]
    first, rest, last = st.columns([2.8, 6.4, 0.7], vertical_alignment="bottom")
    named = {"audience": choices.audiences, "import": choices.imports}
    kinds = [kind for kind in rules.FIELDS if named.get(kind, True)]
    start = _kind(leaf)
    with first:
        kind = st.selectbox(
            "Field",
            kinds,
            index=kinds.index(start) if start in kinds else 0,
            format_func=rules.FIELDS.__getitem__,
            key=f"kind_{number}",
            label_visibility="collapsed",
        )
    with last:
        if st.button("", key=f"remove_{number}", icon=":material/close:", help="Remove this condition"):
            parent["parts"].remove(node)
            st.rerun()
    own = leaf if kind == start else {}
    with rest:
        if kind == "consent":
            return _consent(number, own, choices)
        if kind == "did":
            return _deed(number, own, choices)
        if kind in named:
            known = named[kind]
            return {kind: _pick(rules.FIELDS[kind], list(known), own.get(kind), f"{kind}_{number}", known)}
        if kind == "tag":
            return _tag(number, own)
        if kind == "attributes":
            return _attribute(number, own, choices)
        return _field(number, kind, own)


def _kind(leaf: Json) -> str:
    for kind in ("consent", "did", "audience", "import", "tag"):
        if kind in leaf:
            return kind
    named = str(leaf.get("field", "country"))
    return "attributes" if named.startswith("attributes.") else named


def _pick(label: str, options: list[str], start: object, key: str, words: dict[str, str] | None = None) -> str:
    chosen = st.selectbox(
        label,
        options,
        index=options.index(str(start)) if start in options else 0,
        format_func=lambda word: (words or {}).get(word, word),
        key=key,
        label_visibility="collapsed",
    )
    return str(chosen or "")


def _write(label: str, start: object, key: str, placeholder: str = "") -> str:
    text = st.text_input(label, value=str(start or ""), key=key, placeholder=placeholder, label_visibility="collapsed")
    return (text or "").strip()


def _consent(number: int, leaf: Json, choices: Choices) -> Json:
    left, right = st.columns(2)
    with left:
        state = _pick("State", list(rules.STATES), leaf.get("state", "subscribed"), f"state_{number}", rules.STATES)
    with right:
        purpose = _pick("Purpose", choices.purposes or ["marketing"], leaf.get("consent"), f"purpose_{number}")
    rule: Json = {"consent": purpose}
    return rule if state == "subscribed" else rule | {"state": state}


def _deed(number: int, leaf: Json, choices: Choices) -> Json | None:
    what, times, when, where = controls.cells(4, min_width=150, bottom=True)
    with what:
        deeds = [deed for deed in rules.DEEDS if deed != "event" or choices.events or leaf.get("did") == "event"]
        deed = _pick("Deed", deeds, leaf.get("did", "clicked"), f"did_{number}", rules.DEEDS)
    with times:
        often = st.number_input(
            "Times at least, 0 is never",
            0,
            1000,
            0 if leaf.get("at_most") == 0 else _whole(leaf.get("at_least"), 1),
            key=f"times_{number}",
        )
    with when:
        days = st.number_input(
            "Last days, 0 is ever", 0, 3650, _whole(leaf.get("within_days"), 0 if leaf else 90), key=f"days_{number}"
        )
    rule: Json = {"did": deed}
    if often == 0:
        rule["at_most"] = 0
    elif often > 1:
        rule["at_least"] = int(often)
    rule |= {"within_days": int(days)} if days else {}
    with where:
        if deed in rules.WITH_CAMPAIGN and choices.campaigns:
            words = {"": "any campaign", **choices.campaigns}
            campaign = _pick("Campaign", list(words), leaf.get("campaign", ""), f"campaign_{number}", words)
            rule |= {"campaign": campaign} if campaign else {}
        if deed == "event":
            before = str(leaf.get("event") or "")
            names = choices.events if before in ("", *choices.events) else [before, *choices.events]
            rule["event"] = _pick("Event", names, before, f"event_{number}")
    return rule


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _tag(number: int, leaf: Json) -> Json | None:
    given = leaf.get("tag", "")
    shown = ", ".join(map(str, given)) if isinstance(given, list) else given
    tags = [tag.strip() for tag in _write("Tag", shown, f"tag_{number}", "vip, press").split(",") if tag.strip()]
    if not tags:
        return None
    return {"tag": tags[0] if len(tags) == 1 else tags}


def _field(number: int, kind: str, leaf: Json) -> Json | None:
    left, right = st.columns(2)
    ops = rules.operators(kind)
    with left:
        op = st.selectbox(
            "Condition",
            ops,
            index=ops.index(str(leaf.get("op"))) if leaf.get("op") in ops else 0,
            format_func=lambda word: rules.operator_words(kind, word),
            key=f"op_{number}_{kind}",
            label_visibility="collapsed",
        )
    with right:
        if op in rules.RELATIVE:
            return {"field": kind, "op": op, "value": _days(number, leaf)}
        if op == "exists":
            return {"field": kind, "op": op, "value": True}
        if kind in ("created_at", "last_seen_at"):
            start = _day(number, str(leaf.get("value", "")))
            instant = datetime.combine(start, time(), ZoneInfo(get_settings().time_zone)) if start else None
            return {"field": kind, "op": op, "value": instant.isoformat()} if instant else None
        given = leaf.get("value", "")
        shown = ", ".join(map(str, given)) if isinstance(given, list) else given
        hint = {"country": "DE, AT", "language": "de, en", "time_zone": "Europe/Berlin"}.get(kind, "")
        row = Row(kind, op, _write("Value", shown, f"value_{number}", hint))
    return rules.leaf(row) if rules.is_complete(row) else None


def _days(number: int, leaf: Json) -> int:
    return int(
        st.number_input(
            "Days", 1, 3650, _whole(leaf.get("value"), 30), key=f"within_{number}", label_visibility="collapsed"
        )
    )


def _day(number: int, written: str) -> date | None:
    start = date.fromisoformat(written[:10]) if written[:10].count("-") == 2 else "today"
    return st.date_input("Day", start, key=f"day_{number}", label_visibility="collapsed")


def _attribute(number: int, leaf: Json, choices: Choices) -> Json | None:
    name_at, op_at, value_at = st.columns([2, 2, 2])
    start = str(leaf.get("field", "")).removeprefix("attributes.")
    with name_at:
        known = sorted({*choices.attributes, *([start] if start else [])})
        name = st.selectbox(
            "Attribute",
            known,
            index=known.index(start) if start in known else (0 if known else None),
            key=f"attribute_{number}",
            label_visibility="collapsed",
            accept_new_options=True,
            placeholder="Type its name",
        )
    kind, options = choices.attributes.get(str(name), ("text", []))
    ops = {
        "number": ("gte", "lte", "gt", "lt", "eq", "ne", "exists"),
        "date": ("within_days", "before_days", "gte", "lt", "exists"),
        "boolean": ("eq", "exists"),
        "choice": ("in", "not_in", "exists"),
    }.get(kind, rules.operators("attributes"))
    spoken = "created_at" if kind == "date" else "attributes"
    with op_at:
        op = st.selectbox(
            "Condition",
            ops,
            index=ops.index(str(leaf.get("op"))) if leaf.get("op") in ops else 0,
            format_func=lambda word: rules.operator_words(spoken, word),
            key=f"op_{number}_{kind}",
            label_visibility="collapsed",
        )
    if not name:
        return None
    with value_at:
        return _attribute_value(number, str(name), kind, options, op, leaf)


def _attribute_value(number: int, name: str, kind: str, options: list[str], op: str, leaf: Json) -> Json | None:
    rule: Json = {"field": f"attributes.{name}", "op": op}
    given = leaf.get("value")
    if op == "exists":
        return rule | {"value": True}
    if op in rules.RELATIVE:
        return rule | {"value": _days(number, leaf)}
    if kind == "boolean":
        return rule | {"value": _pick("Value", list(BOOLEANS), str(given).lower(), f"bool_{number}", BOOLEANS)}
    if kind == "choice":
        start = [each for each in given if each in options] if isinstance(given, list) else []
        chosen = st.multiselect("Value", options, start, key=f"choices_{number}", label_visibility="collapsed")
        return rule | {"value": chosen} if chosen else None
    if kind == "date":
        day = _day(number, str(given or ""))
        return rule | {"value": day.isoformat()} if day else None
    shown = ", ".join(map(str, given)) if isinstance(given, list) else ("" if given is None else given)
    row = Row("attributes", op, _write("Value", shown, f"value_{number}"), name)
    if not rules.is_complete(row):
        return None
    if kind == "number":
        return (
            rule | {"value": float(row.value) if "." in row.value else int(row.value)}
            if _is_number(row.value)
            else None
        )
    return rules.leaf(row)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
