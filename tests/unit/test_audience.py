"""Rules compile to parameters, never to text, or are refused with the place named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from core.audience import compile_rule, references
from core.errors import RuleViolation

DIALECT = postgresql.dialect()


def sql(rule: Any) -> str:
    return str(compile_rule(rule).compile(dialect=DIALECT))


def test_only_living_people_are_meant() -> None:
    assert "erased_at IS NULL" in sql({"all": []}) and "closed_at IS NULL" in sql({"any": []})


def test_not_in_is_true_for_those_without_a_value() -> None:
    found = sql({"field": "country", "op": "not_in", "value": ["DE", "FR"]})
    assert "NOT (contacts.country = ANY" in found and "contacts.country IS NULL" in found


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"all": [{"any": [{"field": "shoes", "op": "eq", "value": "x"}]}]}, "rule.all[0].any[0].field"),
        ({"not": {"field": "name", "op": "near", "value": "x"}}, "rule.not.op"),
        ({"field": "created_at", "op": "gt", "value": "0001-01-01T00:00:00+14:00"}, "rule.value"),
        ({"field": "attributes.age", "op": "gt", "value": "5"}, "rule.value"),
        ({"field": "attributes.age", "op": "gt", "value": 10**16}, "rule.value"),
        ({"field": "attributes.age", "op": "gt", "value": float("inf")}, "rule.value"),
        ({"field": "attributes.age", "op": "gt", "value": float("nan")}, "rule.value"),
        ({"audience": "x"}, "rule"),
        ({"field": "name"}, "rule"),
        (5, "rule"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(rule: Any, place: str) -> None:
    with pytest.raises(RuleViolation) as refused:
        compile_rule(rule)
    assert refused.value.facts["field"] == place


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=3))
FIELDS = st.sampled_from(["name", "country", "created_at", "attributes.x", "attributes.", "nope"]) | st.text(max_size=5)
OPS = st.sampled_from(["eq", "ne", "in", "not_in", "contains", "starts_with", "gt", "lte", "exists", "x"])
COMPARED = st.fixed_dictionaries({"field": FIELDS, "op": OPS}, optional={"value": LEAVES})
KEYS = st.sampled_from(["all", "any", "not", "consent", "audience", "import", "field", "x"])
RULES = st.recursive(
    COMPARED | LEAVES,
    lambda inner: (
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
        | st.dictionaries(KEYS, inner, max_size=2)
    ),
    max_leaves=10,
)


@given(RULES)
def test_any_rule_compiles_or_is_refused(rule: Any) -> None:
    try:
        compiled = compile_rule(rule).compile(dialect=DIALECT)
    except RuleViolation as refused:
        assert str(refused.facts["field"]).startswith("rule")
        return
    assert str(compiled)
    references(rule)


@given(st.text(min_size=1, max_size=20))
def test_no_value_becomes_part_of_the_statement(value: str) -> None:
    plain = sql({"field": "name", "op": "eq", "value": "x"})
    assert sql({"field": "name", "op": "eq", "value": value}) == plain
    named = sql({"field": "attributes.x", "op": "contains", "value": "x"})
    assert sql({"field": f"attributes.{value}", "op": "contains", "value": value}) == named
