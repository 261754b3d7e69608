"""Numbers, sentences and HTML: what people read is right, and what comes from outside stays text."""

import re
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as some

from core import tabular
from core.statuses import CampaignStatus, DeliveryStatus, SkipReason
from dashboard import format, markup, rules, timeline, words
from dashboard.campaign_payloads import Shown
from dashboard.people_payloads import Happening
from dashboard.rules import Row


@pytest.mark.parametrize(
    ("numerator", "denominator", "text"),
    [
        (6, 8, "75.0 % (6 / 8 sent)"),
        (0, 0, "– (0 / 0 sent)"),
        (None, None, "– (0 / 0 sent)"),
        (0, 5, "0.0 % (0 / 5 sent)"),
    ],
)
def test_a_rate_carries_its_denominator(numerator: int | None, denominator: int | None, text: str) -> None:
    assert format.rate(numerator, denominator, "sent") == text


@pytest.mark.parametrize(
    ("now", "before", "is_rate", "text"),
    [
        (0.75, 0.5, True, "+25.0 points"),
        (90, 100, False, "-10 %"),
        (1000, 10, False, "100 times as much"),
        (5, 0, False, None),
        (None, 0.5, True, None),
    ],
)
def test_the_change_says_points_for_rates(now: float, before: float, is_rate: bool, text: str | None) -> None:
    assert format.change(now, before, is_rate=is_rate) == text


def test_instants_are_shown_in_the_named_zone() -> None:
    at = datetime(2026, 11, 22, 17, 5, tzinfo=UTC)

    assert format.instant(at, "Europe/Berlin") == "22 Nov 2026, 18:05 CET"
    assert format.instant(at, "Asia/Tokyo") == "23 Nov 2026, 02:05 JST"
    assert format.instant(None, "UTC") == "–"


def test_small_words_for_spans_sizes_and_money() -> None:
    assert [format.duration(s) for s in (45, 720, 12_000, 187_200, None)] == [
        "45 s",
        "12 min",
        "3 h 20 min",
        "2 d 4 h",
        "–",
    ]
    assert format.days(date(2026, 10, 1), date(2026, 10, 8)) == "1 Oct to 7 Oct 2026"
    assert [format.size(n) for n in (999, 48_211, None)] == ["999 B", "48.2 kB", "–"]
    assert [format.money(m, "EUR") for m in (-5_000_000, 62_500, 0, None)] == [
        "−5.00 EUR",
        "0.0625 EUR",
        "0.00 EUR",
        "–",
    ]


def test_a_csv_holds_no_formula() -> None:
    text = format.csv_text(pl.DataFrame({"name": ["=1+1", "Tea", None], "n": [-1, 2, 3]}))

    assert text == "name,n\n'=1+1,-1\nTea,2\n,3\n"


def test_every_stored_word_has_plain_ones() -> None:
    assert set(words.DELIVERY) == set(DeliveryStatus) == set(markup.STATUS_COLOURS)
    assert set(words.CAMPAIGN) == set(CampaignStatus)
    assert set(words.REASONS) >= set(SkipReason)
    assert words.reason("meta_stop:0199") == words.REASONS["meta_stop"]


def test_no_two_statuses_look_the_same() -> None:
    assert len(set(markup.STATUS_COLOURS.values())) == len(DeliveryStatus)


@given(some.dictionaries(some.sampled_from([str(s) for s in DeliveryStatus]), some.integers(0, 10_000)))
def test_the_bar_is_as_wide_as_the_audience(balance: dict[str, int]) -> None:
    bar = markup.balance_bar(balance | {"audience": sum(balance.values())})

    widths = [float(part.split("%")[0]) for part in bar.split("width:")[2:] if "%" in part.split(";")[0]]
    assert sum(widths) == pytest.approx(100, abs=0.05) or not sum(balance.values())


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=1>'])
def test_text_from_outside_stays_text(evil: str) -> None:
    shown = Shown(body=evil, header=evil, footer=evil, buttons=[evil])

    for html in (markup.bubble(shown), markup.table({"Name": [evil]})):
        assert "<script" not in html and "<img" not in html


def test_columns_of_figures_stand_to_the_right_and_columns_that_say_nothing_to_the_left() -> None:
    html = markup.table({"People": ["1,234", "–"], "Because of": ["–", "–"], "Name": ["Ana", "–"]})
    heads = re.findall(r'<th scope="col" style="([^"]*)">([^<]*)', html)
    assert [title for style, title in heads if "text-align:right" in style] == ["People"]


def test_every_encoding_a_file_can_be_read_in_has_a_name_to_choose() -> None:
    assert set(words.ENCODINGS_CHOSEN) == set(tabular.ENCODINGS)


def test_markdown_from_outside_is_literal() -> None:
    assert markup.markdown_text("[x](http://evil) :red[*a*]") == r"\[x\]\(http\://evil\) \:red\[\*a\*\]"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*20 % off* today", "<b>20 % off</b> today"),
        ("_new_ and ~old~", "<i>new</i> and <s>old</s>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("snake_case_name", "snake_case_name"),
        ("a\nb", "a<br>b"),
    ],
)
def test_a_message_is_formatted_as_whatsapp_does(text: str, html: str) -> None:
    assert markup.formatted(text) == html


def test_rows_become_the_filter_tree_and_a_sentence() -> None:
    rows = [
        Row("country", "in", "DE, AT"),
        Row("attributes", "gte", "3", "orders"),
        Row("consent", "", "marketing"),
        Row("name", "exists", ""),
        Row("city", "eq", ""),
    ]

    tree = rules.tree(rows, "all")

    assert tree == {
        "all": [
            {"field": "country", "op": "in", "value": ["DE", "AT"]},
            {"field": "attributes.orders", "op": "gte", "value": 3},
            {"consent": "marketing"},
            {"field": "name", "op": "exists", "value": True},
        ]
    }
    assert rules.sentence(tree) == (
        "country is one of DE or AT and orders is at least 3 and agreed to marketing and name is known"
    )


def test_a_nested_rule_keeps_its_brackets_and_names_its_audience() -> None:
    rule = {
        "all": [
            {"any": [{"audience": "1"}, {"not": {"consent": "x"}}]},
            {"field": "language", "op": "eq", "value": "de"},
        ]
    }

    said = rules.sentence(rule, {"1": "Regulars"})

    assert said == "(is in the audience “Regulars” or not (agreed to x)) and language is de"


def test_an_unfinished_row_is_left_out() -> None:
    assert not rules.is_complete(Row("attributes", "gt", "many", "orders"))
    assert not rules.is_complete(Row("attributes", "eq", "x"))
    assert rules.is_complete(Row("attributes", "exists", "", "orders"))


def test_in_a_narrow_table_an_instant_breaks_between_its_day_and_its_time_only() -> None:
    at = format.instant(datetime(2026, 11, 22, 22, 47, tzinfo=UTC), "Europe/Berlin")

    assert "22&nbsp;Nov&nbsp;2026, 23:47&nbsp;CET" in markup.table({"When": [at]})


def test_a_refused_try_says_that_it_is_repeated_and_how_many_counted() -> None:
    facts = {"campaign": "Tea week", "error_code": 131000, "reason": "retry", "attempt": 2}
    refused = Happening(datetime(2026, 5, 1, tzinfo=UTC), "rejected", facts)

    said = timeline.sentence(refused)

    assert said == "WhatsApp refused it (Tea week) (error 131000); tried again, 2 of its tries counted"


def test_a_long_word_breaks_so_that_it_pushes_no_column_out_of_a_narrow_page() -> None:
    html = markup.table({"What": ["SHA-256 of the proof"], "As it was kept": ["7" * 64]})

    assert f'<span style="overflow-wrap:anywhere">{"7" * 64}</span>' in html
    assert "<td" in html and "anywhere" not in html.partition("As it was kept")[0]
