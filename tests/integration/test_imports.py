"""Imports: every file gets an answer, every row a verdict, and the verdicts add up to the file."""

import asyncio
import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from core.clock import utc_now
from core.db import make_engine
from core.models import Contact, ContactAddress, Import, ImportRow
from core.services import imports
from core.services.imports_reading import read
from core.services.imports_recording import Desk, finish_chunk, prepare_chunk
from core.statuses import ImportStatus
from tests.factories import VOUCHED, an_import, consenting, csv_of
from tests.integration.stack import Stack
from worker import importing

PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{TYPES}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" Target="xl/workbook.xml" '
    f'Type="{OFFICE}/officeDocument"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="rId1"/>'
    "</sheets></workbook>",
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Target="worksheets/sheet1.xml" Type="{OFFICE}/worksheet"/></Relationships>',
}  # fmt: skip


def zipped(parts: dict[str, bytes | str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return target.getvalue()


def a_workbook(rows: Sequence[Sequence[str | float]], padding: int = 0) -> bytes:
    """The smallest XLSX with these cells; `padding` bytes of blanks inside the sheet."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    body = "".join(f"<row>{''.join(cell(value) for value in row)}</row>" for row in rows)
    sheet = f'<worksheet xmlns="{SHEET}"><sheetData>{body}{" " * padding}</sheetData></worksheet>'
    return zipped({**PARTS, "xl/worksheets/sheet1.xml": sheet})


async def upload(stack: Stack, content: bytes, **options: Any) -> Any:
    form = {"options": json.dumps({"attestation": VOUCHED, **options})}
    return await stack.client.post("/api/imports", files={"file": ("people.csv", content)}, data=form)


async def rows_of(stack: Stack, done: dict[str, Any]) -> dict[int, tuple[str, str | None]]:
    page = (await stack.client.get(f"/api/imports/{done['id']}/rows", params={"limit": 200})).json()
    assert page["next"] is None
    return {row["row_number"]: (row["verdict"], row["reason"]) for row in page["items"]}


REFUSED = {
    b"": "is empty",
    b" \n \n": "is empty",
    bytes(range(256)) * 50: "not a table",
    b"\x89PNG\r\n\x1a\n" + bytes(200): "not a table",
    b"%PDF-1.4\n1 0 obj\n<<>>\n": "no column holds phone numbers",
    "phone,name\n+4917012345678,x\n".encode("utf-16-le"): "not a table",
    b"email,name\na,b\n": "no column holds phone numbers",
    b"phone,name,name\n+49,A,B\n": "is there twice",
    b"phone,Phone\n+49,+49\n": "is there twice",
    b"phone," + b"x" * (10 << 20) + b"\n": "huge cell",
    b"phone," + b",".join(b"c%d" % number for number in range(250)): "more than 200 columns",
    a_workbook([]): "names no columns",
    a_workbook([["phone"]])[:-30]: "damaged",
    zipped({"a.txt": "phone\n+49"}): "not a table",
    zipped({"xl/workbook.xml": "<workbook/>"}): "cannot be read",
    a_workbook([["phone"], ["+4917012345678"]], padding=60 << 20): "too large when unpacked",
}


async def test_a_file_that_is_no_table_is_refused_in_a_sentence_and_not_kept(stack: Stack) -> None:
    for content, words in REFUSED.items():
        answer = await upload(stack, content)
        assert answer.status_code == 422 and words in answer.json()["detail"], (content[:40], answer.text)
    wrong_options = [
        ("", "options"),
        ("[]", "options"),
        ('{"region":"Germany"}', "options.region"),
        ('{"nope":1}', "options.nope"),
        ('{"columns":{"shoe":"phone"}}', "columns"),
        ('{"columns":{"phone":"Telefon"}}', "columns"),
    ]
    for options, field in wrong_options:
        files = {"file": ("a.csv", b"phone\n+4917012345678\n")}
        answer = await stack.client.post("/api/imports", files=files, data={"options": options})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
        assert "`" not in answer.text
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Import)) == 0
    folder = stack.settings.data_dir / "imports"
    assert not folder.exists() or list(folder.iterdir()) == []


BROKEN = {
    b"phone,name\n+4917012345678," + b"x" * (10 << 20) + b"\n": "row 2 cannot be read",
    b'phone,name\n+4917012345678,"Ana\n+4917012345679,B\n': "a quote that is not closed",
    b"phone,name\n" + b"x\n" * 200_000 + b"+4917012345679,B\0b\n": "row 200002 holds a NUL character",
    b"phone,name\n" + b"+4917012345678,A\n" * 20_000 + b"+4917012345679,\xff\n": "save the file as CSV UTF-8",
}


async def test_a_file_that_breaks_further_down_fails_with_the_row_named_and_imports_nobody(stack: Stack) -> None:
    for content, words in BROKEN.items():
        done = await an_import(stack, content)
        assert done["status"] == "failed" and words in done["error"], done
    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Contact)) == 0


TABLE = "電話番号,氏名\n+819012345678,山田太郎\n+819012345679,高橋花子\n"
READ = {
    "shift_jis": TABLE.encode("shift_jis"),
    "cp932": TABLE.encode("cp932"),
    "utf-16": TABLE.encode("utf-16"),
    "euc_jp": TABLE.encode("euc_jp"),
    "iso2022_jp": TABLE.encode("iso2022_jp"),
    "utf-8-sig": TABLE.encode("utf-8-sig"),
    "tabs": TABLE.replace(",", "\t").encode(),
    "semicolons": TABLE.replace(",", ";").replace("氏名", '氏名;"a, b, c"').encode(),
    "cr": TABLE.replace("\n", "\r").encode(),
    "workbook": a_workbook(
        [["電話番号", "氏名"], [819012345678.0, "山田太郎"], ["", ""], ["+819012345679", "高橋花子"]]
    ),
}


async def test_names_and_numbers_survive_every_encoding(stack: Stack) -> None:
    for name, content in READ.items():
        done = await an_import(stack, content, region="JP")
        assert (done["status"], done["rows_done"]) == ("done", 2), (name, done)
        async with stack.sessions.begin() as session:
            people = select(ContactAddress.value, Contact.name).join(Contact, Contact.id == ContactAddress.contact_id)
            found = dict((await session.execute(people)).all())
            await session.execute(text("DELETE FROM contacts"))
        assert found == {"+819012345678": "山田太郎", "+819012345679": "高橋花子"}, name


WRITTEN = {
    "gb18030": ("手机,姓名\n+8613800138000,张伟\n", "手机", "张伟"),
    "euc_kr": ("전화,name\n+821012345678,김철수\n", "전화", "김철수"),
    "big5": ("phone,name\n+886912345678,陳小明\n", "phone", "陳小明"),
    "cp1251": ("phone,name\n+79161234567,Иван\n", "phone", "Иван"),
    "utf-16-le": ("phone,name\n+34600111222,Begoña\n", "phone", "Begoña"),
}


async def test_a_file_is_read_in_the_encoding_somebody_names(stack: Stack) -> None:
    for encoding, (table, phone, name) in WRITTEN.items():
        named = {"phone": phone, "name": table.split("\n")[0].split(",")[1]}
        done = await an_import(stack, table.encode(encoding), encoding=encoding, columns=named)
        assert (done["status"], done["rows_done"]) == ("done", 1), (encoding, done)
        async with stack.sessions.begin() as session:
            assert set(await session.scalars(select(Contact.name))) == {name}, encoding
            await session.execute(text("DELETE FROM contacts"))
    wrong = await upload(stack, b"phone\n", encoding="klingon")
    assert wrong.status_code == 422 and "the encoding is one of utf-8" in wrong.json()["detail"]
    unfit = await upload(stack, "phone,name\n+49170,Müller\n".encode("latin-1"), encoding="utf-8")
    assert unfit.status_code == 422 and "is not utf-8" in unfit.json()["detail"]


async def test_latin_text_survives(stack: Stack) -> None:
    await an_import(stack, "phone,name\n+4917012345670,Jürgen Müßig\n+4917012345671,Zoë\n".encode("latin-1"))
    async with stack.sessions() as session:
        assert set(await session.scalars(select(Contact.name))) == {"Jürgen Müßig", "Zoë"}


ROWS: list[tuple[dict[str, str], str, str | None]] = [
    (consenting("+4917012345600"), "accepted", None),
    (consenting("+49 (0)170 123456-00"), "duplicate", "the same number"),
    (consenting("+4917012345601", source_record_id="=1+1"), "rejected", "looks like a formula"),
    (consenting("+4917012345602", evidence_ref="@SUM(A1)"), "rejected", "looks like a formula"),
    (consenting("=1+1"), "rejected", "not a phone number"),
    (consenting("+4917012345603", name='=cmd|"/c calc"!A1'.replace('"', "")), "accepted", None),
    (consenting("\u200b+4917012345604\ufeff", name="\u202eAna\u202c"), "accepted", None),
    (consenting("＋４９１７０１２３４５６０５"), "accepted", None),
    (consenting("+4917012345606", name="A\x07B"), "rejected", "control characters"),
    (consenting("+4917012345607", collection_point='"a\nb"'), "rejected", "control characters"),
    (consenting("+4917012345608", collection_point="a\x85b"), "rejected", "control characters"),
    (consenting("+4917012345609", name='"Ana\nMaria"'), "accepted", None),
    (consenting("+4917012345610", action="maybe"), "rejected", "neither opt_in nor opt_out"),
    (consenting("+4917012345611", purpose="nope"), "rejected", "no such purpose"),
    (consenting("+4917012345612", occurred_at="2026-13-01T00:00:00Z"), "rejected", "is no time"),
    (consenting("+4917012345613", occurred_at="05/01/2026"), "rejected", "is no time"),
    (consenting("+4917012345614", occurred_at="2099-05-01T00:00:00Z"), "rejected", "in the future"),
    (consenting("+4917012345615", occurred_at="0001-01-01T00:00:00+14:00"), "rejected", "before 2009"),
    (consenting("+4917012345616", occurred_at="2015-01-01T00:00:00Z"), "expired_on_arrival", None),
    (consenting("+4917012345617", evidence_ref=""), "not_sendable", "evidence_ref"),
    (consenting("+4917012345618", occurred_at=""), "not_sendable", "occurred_at"),
    (consenting("+4917012345619", name="Ana,one,two,three"), "rejected", "more cells than"),
    ({"phone": "+4917012345620", "name": "Nobody asked"}, "contact_only", None),
    (consenting("+4917012345621", action="opt_out", purpose="nope"), "opt_out_applied", None),
    (consenting("+4917012345622", action="opt_out", collection_point="a\x85b"), "opt_out_applied", None),
    (consenting("+4917012345623"), "refused_suppressed", "refused"),
    (consenting("+49 170 12345623", action="opt_out", source_record_id="out"), "opt_out_applied", None),
    (consenting("+5511987654321"), "accepted", None),
    (consenting("+551187654321"), "duplicate", "the same number"),
]  # fmt: skip


async def test_every_row_gets_its_verdict_and_the_rejects_come_back_with_reasons(stack: Stack) -> None:
    done = await an_import(stack, csv_of([row for row, _, _ in ROWS]))

    assert (done["status"], done["error"]) == ("done", None)
    found = await rows_of(stack, done)
    line = 2
    for row, verdict, words in ROWS:
        got, reason = found[line]
        assert got == verdict and (words is None or words in (reason or "")), (line, row["phone"], got, reason)
        line += 1
    assert done["verdicts"] == Counter(verdict for _, verdict, _ in ROWS)
    assert sum(done["verdicts"].values()) == done["rows_total"] == done["rows_done"] == len(ROWS)

    answer = await stack.client.get(f"/api/imports/{done['id']}/rejects.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rejects = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    wanted = sorted(number for number, (verdict, _) in found.items() if verdict in ("rejected", "not_sendable"))
    assert sorted(int(reject["row_number"]) for reject in rejects) == wanted
    assert all(reject["reason"] for reject in rejects)
    formulas = {reject["source_record_id"] for reject in rejects} | {reject["phone"] for reject in rejects}
    assert "'=1+1" in formulas and not any(cell.startswith("=") for cell in formulas)
    # Those who said stop are in no file and have no reason that tells more.
    assert "12345623" not in answer.text.replace(" ", "")
    states = (await state_of(stack, "+4917012345621"), await state_of(stack, "+4917012345623"))
    assert all(any(state.endswith("withdrawn") for state in each) for each in states)


async def state_of(stack: Stack, phone: str) -> list[str]:
    contact = (await stack.client.get("/api/contacts", params={"phone": phone})).json()["items"][0]
    found = (await stack.client.get(f"/api/contacts/{contact['id']}/consents")).json()["states"]
    return [f"{state['purpose']} {state['state']}" for state in found]


async def test_a_person_may_stop_two_purposes_and_agree_after_being_listed_in_one_file(stack: Stack) -> None:
    rows = [
        consenting("+4917012345600", action="opt_out", purpose="marketing", source_record_id="1"),
        consenting("+4917012345600", action="opt_out", purpose="transactional", source_record_id="2"),
        {"phone": "+4917012345601"},
        consenting("+4917012345601"),
    ]
    done = await an_import(stack, csv_of(rows))
    assert done["verdicts"] == {"accepted": 1, "contact_only": 1, "opt_out_applied": 2}
    assert {"marketing withdrawn", "transactional withdrawn"} <= set(await state_of(stack, "+4917012345600"))
    assert "marketing subscribed" in await state_of(stack, "+4917012345601")


async def test_the_same_file_again_changes_nobody_and_revives_nobody(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(20)]
    content = csv_of([consenting(phone) for phone in people])
    assert (await an_import(stack, content))["verdicts"] == {"accepted": 20}
    out = csv_of([consenting(phone, action="opt_out", source_record_id=f"o{phone}") for phone in people[:5]])
    assert (await an_import(stack, out))["verdicts"] == {"opt_out_applied": 5}

    assert (await an_import(stack, content))["verdicts"] == {"duplicate": 20}
    fresh = csv_of([consenting(phone, source_record_id=f"n{phone}") for phone in people[:6]])
    assert (await an_import(stack, fresh))["verdicts"] == {"accepted": 1, "refused_suppressed": 5}


async def test_two_files_at_once_with_the_same_people_make_each_person_once(stack: Stack) -> None:
    people = [f"+49170123456{number:02d}" for number in range(40)]
    jobs = []
    for name in ("a", "b"):
        rows = [consenting(phone, source_record_id=f"{name}{phone}") for phone in people]
        jobs.append((await upload(stack, csv_of(rows))).json()["id"])
    stack.bells.waiting.clear()
    await asyncio.gather(*(importing.run_import(stack.ctx, job) for job in jobs for _ in range(3)))
    await importing.ring_imports(stack.ctx)
    await stack.work()

    async with stack.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Contact)) == 40
        for job in await session.scalars(select(Import)):
            assert (job.status, sum(job.verdicts.values()), job.rows_done) == (ImportStatus.DONE, 40, 40)


class Broken(Exception):
    """The worker dies here."""


async def test_a_worker_that_dies_in_the_middle_leaves_no_row_out_and_none_twice(stack: Stack) -> None:
    rows = [
        consenting(f"+491701{number:06d}", **({"action": "opt_out"} if number % 7 == 0 else {}))
        for number in range(150)
    ]
    rows += rows[:30]
    job = (await upload(stack, csv_of(rows))).json()["id"]
    stack.bells.waiting.clear()
    path = stack.settings.data_dir / "imports" / f"{job}.upload"
    async with stack.sessions() as session:
        options = imports.options_of(await imports.get(session, UUID(job)))

    # The beginning of the file by hand, as a worker does it; then its transaction is lost with the worker.
    parts = stack.parts
    desk = Desk(options, parts.keyring, parts.settings)
    with read(path, options, purposes=frozenset({"marketing"}), kinds={}, now=utc_now()) as reading:
        chunks = reading.chunks(60)
        for lost in (False, True):
            try:
                async with stack.sessions.begin() as session:
                    found = await imports.get(session, UUID(job), lock=True)
                    found.status = ImportStatus.RUNNING
                    prepared = await prepare_chunk(session, found, next(chunks), desk, now=found.created_at)
                    assert await finish_chunk(session, prepared, desk)
                    if lost:
                        raise Broken
            except Broken:
                pass
    async with stack.sessions() as session:
        assert (await imports.get(session, UUID(job))).rows_done == 27, "the opt-outs, which come first"
    await importing.ring_imports(stack.ctx)
    await stack.work()

    async with stack.sessions() as session:
        done = await imports.get(session, UUID(job))
        numbers = list(await session.scalars(select(ImportRow.row_number)))
    assert (done.status, done.rows_total, done.rows_done) == (ImportStatus.DONE, 180, 180)
    assert sorted(numbers) == list(range(2, 182))
    assert done.verdicts == {"accepted": 128, "duplicate": 30, "opt_out_applied": 22}


async def test_an_import_holds_its_turn_without_an_idle_transaction(stack: Stack, own_database: str) -> None:
    """An idle transaction is closed after a minute, and files take longer."""
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'"
    async with imports.turn(stack.sessions) as mine, imports.turn(stack.sessions) as other:
        assert (mine, other) == (True, False)
        owner = make_engine(own_database, role=None)  # sees what every connection does
        async with owner.connect() as connection:
            assert (await connection.execute(text(idle))).scalar_one() == 0
        await owner.dispose()
    async with imports.turn(stack.sessions) as mine:
        assert mine


async def test_a_file_that_is_gone_fails_once_instead_of_being_tried_for_ever(stack: Stack) -> None:
    job = (await upload(stack, csv_of([consenting("+4917012345600")]))).json()["id"]
    (stack.settings.data_dir / "imports" / f"{job}.upload").unlink()
    await stack.work()
    await importing.ring_imports(stack.ctx)

    assert stack.bells.waiting == []
    found = (await stack.client.get(f"/api/imports/{job}")).json()
    assert (found["status"], found["error"]) == ("failed", "the uploaded file is gone")
