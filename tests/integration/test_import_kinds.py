"""Columns of a file that are typed attributes: kept in their kind, left out with the reason if they do not fit."""

import csv
import io
from typing import Any

import pytest
from sqlalchemy import text

from core.services.imports_rows import instant
from core.statuses import Role
from tests.factories import an_import, consenting, csv_of
from tests.integration.stack import Stack

ANA, BOB, EVE = "+491701234500", "+491701234501", "+491701234502"


async def kinds(stack: Stack) -> None:
    typed: dict[str, dict[str, Any]] = {
        "age": {"kind": "number"},
        "birthday": {"kind": "date"},
        "vip": {"kind": "boolean"},
        "size": {"kind": "choice", "choices": ["S", "M"]},
    }
    for name, body in typed.items():
        answer = await stack.client.put(f"/api/attributes/{name}", json=body)
        assert answer.status_code == 200, answer.text


async def attributes(stack: Stack, phone: str) -> dict[str, Any]:
    (person,) = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"]
    profile = (await stack.client.get(f"/api/contacts/{person['id']}/profile")).json()
    found: dict[str, Any] = profile["contact"]["attributes"] if "contact" in profile else profile["attributes"]
    return found


async def test_values_are_kept_in_their_kind_and_what_does_not_fit_costs_the_value_not_the_row(stack: Stack) -> None:
    await kinds(stack)
    good = consenting(ANA, age="41", birthday="1985-02-03", vip="ja", size="m", city="Ulm")
    bad = consenting(BOB, age="forty", birthday="03.02.1985", vip="yes", size="XXL", city="Bonn", source_record_id="b")
    plain = {"phone": EVE, "name": "Eve", "age": "none of your business", "vip": "no"}

    done = await an_import(stack, csv_of([good, bad, plain]))

    assert done["verdicts"] == {"accepted": 2, "contact_only": 1}
    assert done["notes"] == {"value_left_out": 2}
    assert await attributes(stack, ANA) == {
        "age": 41,
        "birthday": "1985-02-03",
        "vip": True,
        "size": "M",
        "city": "Ulm",
    }
    assert await attributes(stack, BOB) == {"vip": True, "city": "Bonn"}
    assert await attributes(stack, EVE) == {"vip": False}
    rows = (await stack.client.get(f"/api/imports/{done['id']}/rows", params={"verdict": "accepted"})).json()["items"]
    reasons = {row["row_number"]: row["reason"] for row in rows}
    assert reasons[2] is None
    assert reasons[3] == (
        "left out: age must be a number such as 12 or 12.5; birthday must be a date such as 2026-10-01;"
        " size must be one of S, M"
    )
    assert "forty" not in str(rows)


async def test_a_bad_value_never_replaces_a_good_one_and_a_better_one_does(stack: Stack) -> None:
    await kinds(stack)
    await an_import(stack, csv_of([consenting(ANA, age="41")]))

    await an_import(stack, csv_of([{"phone": ANA, "age": "old"}]), merge="overwrite")
    assert (await attributes(stack, ANA))["age"] == 41
    await an_import(stack, csv_of([{"phone": ANA, "age": "42.5"}]), merge="overwrite")

    assert (await attributes(stack, ANA))["age"] == 42.5


async def test_an_opt_out_counts_whatever_else_its_row_holds(stack: Stack) -> None:
    await kinds(stack)

    done = await an_import(stack, csv_of([{"phone": ANA, "action": "opt_out", "age": "x"}]))

    assert done["verdicts"] == {"opt_out_applied": 1}
    compliance = await stack.sign_in(Role.COMPLIANCE)
    (person,) = (await compliance.get("/api/contacts", params={"phone": ANA})).json()["items"]
    states = (await compliance.get(f"/api/contacts/{person['id']}/consents")).json()["states"]
    assert {row["state"] for row in states} == {"withdrawn"}


SAID = {"accepted": "同意する はい ○ ＹＥＳ 1 oui", "opt_out_applied": "いいえ × 配信停止 同意しない 0 NEIN"}


async def test_people_say_yes_and_no_in_their_own_words(stack: Stack) -> None:
    rows, wanted = [], []
    for verdict, said in SAID.items():
        for word in said.split():
            rows.append(consenting(f"+49170123460{len(rows):02d}", action=word))
            wanted.append(verdict)

    done = await an_import(stack, csv_of(rows))

    listed = (await stack.client.get(f"/api/imports/{done['id']}/rows", params={"limit": 200})).json()["items"]
    assert [row["verdict"] for row in sorted(listed, key=lambda row: row["row_number"])] == wanted


@pytest.mark.parametrize("word", ["", "-", "未同意", "N/A"])
async def test_where_a_column_asks_and_nothing_is_said_nobody_agreed(stack: Stack, word: str) -> None:
    done = await an_import(stack, csv_of([consenting(ANA, action=word), consenting(BOB)]))

    assert done["verdicts"] == {"accepted": 1, "not_sendable": 1}
    (row,) = (await stack.client.get(f"/api/imports/{done['id']}/reasons")).json()
    assert (row["verdict"], row["rows"], row["first_row"]) == ("not_sendable", 1, 2)
    assert "action is empty" in row["reason"]
    async with stack.sessions() as session:
        granted = text("SELECT count(*) FROM consent_events WHERE event_type = 'GRANTED'")
        assert (await session.execute(granted)).scalar_one() == 1


async def test_a_method_in_other_words_is_known_and_one_that_is_not_is_named_as_the_reason(stack: Stack) -> None:
    rows = [consenting(ANA, method="Ｗｅｂフォーム"), consenting(BOB, method="店頭"), consenting(EVE, method="smoke")]
    done = await an_import(stack, csv_of(rows))

    assert done["verdicts"] == {"accepted": 2, "not_sendable": 1}
    (row,) = (await stack.client.get(f"/api/imports/{done['id']}/reasons")).json()
    assert "method (it is none of web_form, paper" in row["reason"] and "proves too little" not in row["reason"]


@pytest.mark.parametrize(
    "written",
    ["2026.5.1", "2026-5-1", "2026年5月1日", "２０２６／５／１", "令和8年5月1日", "R8.5.1", "2026年5月1日 0時0分"],
)
def test_a_day_that_can_be_only_one_is_read(written: str) -> None:
    at, zoned = instant(written, "UTC")
    assert (at.isoformat(), zoned) == ("2026-05-01T00:00:00+00:00", False)


@pytest.mark.parametrize(
    "written", ["01/05/2026", "46143", "5/1", "令和8年13月1日", "2026/02/30", "R8", "昭和64年1月1日"]
)
def test_a_day_that_could_be_two_or_none_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        instant(written, "UTC")


async def test_a_spreadsheets_number_for_a_day_is_said_to_be_one(stack: Stack) -> None:
    done = await an_import(stack, csv_of([consenting(ANA, occurred_at="46143")]))
    (row,) = (await stack.client.get(f"/api/imports/{done['id']}/reasons")).json()
    assert "a spreadsheet's number for a day" in row["reason"]


async def test_a_number_in_the_consent_column_is_not_repeated_in_the_reason(stack: Stack) -> None:
    done = await an_import(stack, csv_of([consenting(ANA, action="0170 12345 99"), consenting(BOB, action="perhaps")]))
    reasons = [row["reason"] for row in (await stack.client.get(f"/api/imports/{done['id']}/reasons")).json()]
    assert sorted(reasons) == [
        "the action 'perhaps' is neither opt_in nor opt_out",
        "the action is neither opt_in nor opt_out",
    ]


async def test_rejected_rows_open_in_a_spreadsheet_and_come_back_mended(stack: Stack) -> None:
    header = ["電話番号", "氏名", "action", "都市"]
    rows = [["12", "山田", "opt_out", ""]] * 250 + [["+4917012345", "", "", "Ulm"], ["", "鈴木", "", "Bonn"]]
    target = io.StringIO()
    csv.writer(target).writerows([header, *rows])
    done = await an_import(stack, target.getvalue().encode("cp932"))
    assert done["verdicts"] == {"contact_only": 1, "rejected": 251}

    answer = await stack.client.get(f"/api/imports/{done['id']}/rejects.csv")

    assert answer.content.startswith(b"\xef\xbb\xbf"), "without it a spreadsheet shows other letters"
    rejects = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert list(rejects[0]) == ["row_number", "verdict", "reason", "電話番号", "氏名", "action", "都市"]
    assert (rejects[-1]["氏名"], rejects[-1]["都市"]) == ("鈴木", "Bonn"), "a column that only later rows fill is there"

    mended = answer.content.decode("utf-8-sig").replace(",12,", ",+4917012349,", 1).encode()
    again = await an_import(stack, mended)
    assert again["verdicts"] == {"opt_out_applied": 1, "rejected": 250}
    assert "都市" not in await attributes(stack, "+4917012349")
    async with stack.sessions() as session:
        kept = [set(each) for each in (await session.execute(text("SELECT attributes FROM contacts"))).scalars()]
    assert kept and not any(names & {"row_number", "verdict", "reason"} for names in kept)


async def test_who_said_stop_is_refused_however_weak_or_old_the_row_is_and_a_check_says_the_same(stack: Stack) -> None:
    rows = [
        consenting(ANA, action="opt_out", source_record_id="out"),
        consenting(ANA, evidence_ref=""),
        consenting(ANA, occurred_at="2015-01-01T00:00:00Z", source_record_id="old"),
        consenting(BOB, evidence_ref=""),
    ]
    checked = await an_import(stack, csv_of([*rows[:2], rows[3]]), dry_run=True)
    assert checked["verdicts"] == {"not_sendable": 1, "opt_out_applied": 1, "refused_suppressed": 1}

    done = await an_import(stack, csv_of([*rows[:2], rows[3]]))
    again = await an_import(stack, csv_of(rows[2:3]))

    assert done["verdicts"] == checked["verdicts"]
    assert again["verdicts"] == {"refused_suppressed": 1}
    rejects = (await stack.client.get(f"/api/imports/{done['id']}/rejects.csv")).text
    assert BOB in rejects and ANA not in rejects
