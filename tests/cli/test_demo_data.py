"""The demo's file and its reading of the simulator's log."""

import csv
import io
import zlib
from collections import Counter
from datetime import date
from itertools import islice

import phonenumbers
import pytest

from cli.demo_data import COUNTRIES, make_file, match, people
from cli.demo_sandbox import is_settled, weigh
from cli.demo_shop import link_code
from cli.picture import HEIGHT, WIDTH, tea_hills

TODAY = date(2026, 11, 22)


def rows(messages: int) -> list[dict[str, str]]:
    file = make_file(messages, began_on=TODAY, notice_id="n")
    return list(csv.DictReader(io.StringIO(file.content.decode())))


def test_the_file_is_the_same_every_time() -> None:
    assert make_file(200, began_on=TODAY, notice_id="n") == make_file(200, began_on=TODAY, notice_id="n")


@pytest.mark.parametrize("messages", [20, 200, 2000])
def test_a_sixth_of_the_rows_is_of_no_use(messages: int) -> None:
    file = make_file(messages, began_on=TODAY, notice_id="n")

    assert len(rows(messages)) == file.rows == messages * 6 // 5
    assert file.reachable == messages


def test_a_larger_file_begins_with_the_same_people() -> None:
    assert list(islice(people(), 50)) == list(islice(people(), 500))[:50]


def test_everybody_has_a_number_that_could_be_a_mobiles_and_nobody_elses() -> None:
    somebody = list(islice(people(), 2000))

    assert all(phonenumbers.is_valid_number(phonenumbers.parse(person.e164)) for person in somebody)
    assert len({match(person.e164) for person in somebody}) == len(somebody)
    assert {person.country.code for person in somebody} == {country.code for country in COUNTRIES}


def test_no_row_repeats_a_person_before_that_person_appeared() -> None:
    first: dict[str, int] = {}
    repeats = 0
    for position, row in enumerate(rows(2000)):
        repeats += row["source_record_id"] != "" and row["source_record_id"] in first
        first.setdefault(row["source_record_id"], position)
        if row["source_system"] == "till":
            assert any(r.startswith(f"form-{row['source_record_id'][5:]}-") for r in first)
    assert repeats == 60


def test_the_file_holds_every_kind_of_mess() -> None:
    kinds = Counter(
        "opt-out" if row["action"] == "opt_out"
        else "silent" if not row["action"]
        else "half" if not row["notice_id"]
        else "till" if row["source_system"] == "till"
        else "old" if row["occurred_at"] < "2022"
        else "plain"
        for row in rows(2000)
    )  # fmt: skip

    assert kinds == {"plain": 2000 + 60 + 60, "opt-out": 80, "silent": 50, "half": 50, "till": 60, "old": 40}


@pytest.mark.parametrize(
    ("one", "other"),
    [("+5511987654321", "551187654321"), ("+521 55 1234 5678", "525512345678"), ("+81 90-1234-5678", "819012345678")],
)
def test_spellings_of_a_number_share_a_key(one: str, other: str) -> None:
    assert match(one) == match(other)


def message(wa_id: str, label: str, at: str = "2026-11-22T10:00:00Z", kind: str = "template") -> dict[str, object]:
    return {"wa_id": wa_id, "to": wa_id, "biz_opaque_callback_data": label, "type": kind, "accepted_at": at}


def said(wa_id: str, at: float, text: str | None = None, payload: str | None = None) -> dict[str, object]:
    return {"wa_id": wa_id, "at": at, "text": text, "payload": payload}


NO_FAILURES: dict[str, object] = {"failures_by_code": {}}


def test_a_log_without_fault_weighs_nothing() -> None:
    log = [message("4915111111111", "a"), message("819011111111", "b"), message("819011111111", "c", kind="text")]

    evidence = weigh(log, [said("819011111111", 1_795_341_700.0, "停止")], NO_FAILURES, opted_out_before=frozenset())

    assert (evidence.accepted, evidence.duplicates_sent, evidence.to_opted_out) == (2, 0, 0)
    assert evidence.stopped == {"819011111111"}


def test_a_second_message_to_a_person_is_a_duplicate_in_any_spelling() -> None:
    log = [message("5511987654321", "a"), message("551187654321", "b")]

    assert weigh(log, [], NO_FAILURES, opted_out_before=frozenset()).duplicates_sent == 1


def test_a_label_used_twice_is_a_duplicate() -> None:
    log = [message("4915111111111", "a"), message("819011111111", "a")]

    assert weigh(log, [], NO_FAILURES, opted_out_before=frozenset()).duplicates_sent == 1


@pytest.mark.parametrize(
    ("inbound", "before", "failures"),
    [
        ([], frozenset({"551187654321"}), {}),
        ([said("5511987654321", 1_795_000_000.0, "Sair")], frozenset(), {}),
        ([said("5511987654321", 1_795_000_000.0, "Stop promotions", "stop:promo")], frozenset(), {}),
        ([], frozenset(), {"131050": 1}),
    ],
)
def test_a_message_after_a_no_is_found(
    inbound: list[dict[str, object]], before: frozenset[str], failures: dict[str, int]
) -> None:
    evidence = weigh([message("5511987654321", "a")], inbound, {"failures_by_code": failures}, opted_out_before=before)

    assert evidence.to_opted_out == 1


def test_a_simulation_is_settled_when_nothing_is_pending() -> None:
    pending = {"events": 0, "next_event_at": None, "updates_waiting": 0, "clicks": 0}

    assert is_settled({"pending": pending})
    assert not is_settled({"pending": pending | {"clicks": 1}})


def test_the_code_of_a_visit_is_read_from_the_shops_address() -> None:
    assert link_code("https://shop.example/tea?x=1&kairan_code=abc") == "abc"
    assert link_code("https://shop.example/tea") is None


def test_the_picture_is_a_whole_png() -> None:
    image = tea_hills()

    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    start = image.index(b"IDAT") + 4
    length = int.from_bytes(image[start - 8 : start - 4], "big")
    assert len(zlib.decompress(image[start : start + length])) == HEIGHT * (WIDTH * 3 + 1)
