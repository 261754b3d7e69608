"""`import`: rows per second from an uploaded CSV with consent columns to contacts, sealed consents and a list.

Beside it in the same run: libphonenumber alone on the same numbers, and a loop that adds contacts one by one through
the ORM and records no consent at all.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import phonenumbers
from sqlalchemy import select

from benchmarks import office as setting
from benchmarks.harness import POLL_S, Stack, running
from benchmarks.machine import Cpu, Memory, watched_memory
from benchmarks.office import Json, Office
from benchmarks.report import Report
from benchmarks.send import cpu_grid
from core import phone
from core.errors import Unavailable
from core.models import Contact, ContactAddress

FEWER = 10  # the first file's share of the rows, to compare the memory with
ALONE = 20_000  # rows of the floor and of the loop
ROWS_PER_S, MOST_MIB, FLAT = 15_000, 600, 1.2
HEADER = (
    *("phone", "name", "language", "action", "occurred_at", "method", "collection_point", "notice_id"),
    *("source_record_id", "evidence_ref", "city", "tier"),
)


def rows(first: int, count: int) -> Iterator[str]:
    """Lines of a file as shops have them: one number in fifty is bad, one row in fifty is there twice, one in a
    hundred opts out.
    """
    for n in range(first, first + count):
        number = "12" if n % 50 == 7 else f"+49151{n - (n % 50 == 9):08}"
        action = "opt_out" if n % 100 == 3 else "opt_in"
        record = n - (n % 50 == 9)
        yield (
            f"{number},Person {n},de,{action},2026-05-01T09:{n // 60 % 60:02}:{n % 60:02}+02:00,web_form,checkout,"
            f"default,form-{record},s3://forms/{record}.json,Berlin,{'gold' if n % 3 else 'silver'}\n"
        )


async def imports(sizes: list[int]) -> Report:
    """`import [ROWS]`, 1,000,000 unless told; a file of a tenth of them goes first."""
    count = sizes[0] if sizes else 1_000_000
    few = max(1, count // FEWER)
    report = Report("import")
    async with running() as stack, setting.office(stack) as office:
        _, small = await _imported(stack, office, few, first=0)
        cpu = Cpu(stack.pids)
        (reading, recording), large = await _imported(stack, office, count, first=few, cpu=cpu)
        report.add("rows per second, end to end", count / (reading + recording), "1/s", at_least=ROWS_PER_S)
        report.add("rows per second, reading the file", count / reading, "1/s")
        report.add("rows per second, recording", count / recording, "1/s")
        spent = cpu.spent()
        report.add("CPU of all processes", sum(spent.values()) / count * 1000, "s per 1,000")
        report.add(f"importing process's peak memory, {few:,} rows", small.peak_mib, "MiB")
        report.add(f"importing process's peak memory, {count:,} rows", large.peak_mib, "MiB", at_most=MOST_MIB)
        report.add("memory, large / small", large.peak / small.peak, "ratio", at_most=FLAT)
        report.grids.append(replace(cpu_grid(spent, count), title="CPU, from the upload's answer to the last row"))
        alone, some = min(ALONE, count), min(ALONE, few)
        report.add("libphonenumber alone (floor)", alone / _floor(alone), "rows/s")
        report.add("ORM loop without consents (alternative)", some / await _loop(stack, some), "rows/s")
    return report


async def _imported(
    stack: Stack, office: Office, count: int, *, first: int, cpu: Cpu | None = None
) -> tuple[tuple[float, float], Memory]:
    """Import that many people with a fresh worker; seconds of reading and of recording, and the worker's memory."""
    path = stack.folder / "people.csv"
    with path.open("w") as target:
        target.write(",".join(HEADER) + "\n")
        target.writelines(rows(first, count))
    pid = await stack.new_worker()
    if cpu is not None:
        cpu.start()
    async with watched_memory(pid) as memory:
        job = await _upload(office, path, f"People from {first}")
        began = time.perf_counter()
        read = 0.0
        while job["status"] in ("waiting", "running"):
            await asyncio.sleep(POLL_S)
            job = await office.call("GET", f"/api/imports/{job['id']}")
            read = read or (time.perf_counter() - began if job["rows_total"] else 0.0)
        seconds = time.perf_counter() - began
    if job["status"] != "done" or sum(job["verdicts"].values()) != job["rows_total"] or job["rows_total"] != count:
        raise Unavailable(f"the import did not balance: {job['status']} {job['error']} {job['verdicts']}")
    path.unlink()
    return (read, seconds - read), memory


async def _upload(office: Office, path: Path, audience: str) -> Json:
    with path.open("rb") as content:
        answer = await office.http.post(
            "/api/imports",
            files={"file": (path.name, content, "text/csv")},
            data={"options": json.dumps({"region": "DE", "audience_name": audience, "attestation": {"role": "bench"}})},
        )
    if answer.status_code != 201:
        raise Unavailable(f"the upload was answered {answer.status_code}: {answer.text[:300]}")
    job: Json = answer.json()
    return job


def _floor(count: int) -> float:
    """Seconds in which libphonenumber reads that many numbers and says where they are from."""
    began = time.perf_counter()
    for n in range(count):
        number = phonenumbers.parse(f"+49151{n:08}", "DE")
        if phonenumbers.is_possible_number(number):
            phonenumbers.region_code_for_number(number)
            phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return time.perf_counter() - began


async def _loop(stack: Stack, count: int) -> float:
    """Seconds of a loop as one would first write it: look the number up, add who has none, commit now and then."""
    began = time.perf_counter()
    async with stack.sessions() as session:
        for n in range(count):
            number = phone.parse(f"+4917{n:09}", region="DE")
            owner = (ContactAddress.match_key == number.match_key, ContactAddress.closed_at.is_(None))
            known = select(ContactAddress.contact_id).where(*owner)
            if await session.scalar(known) is None:
                contact = Contact(name=f"Person {n}", language="de", country=number.country, attributes={"n": n})
                session.add(contact)
                await session.flush()
                session.add(
                    ContactAddress(contact_id=contact.id, kind="phone", value=number.e164, match_key=number.match_key)
                )
            if n % 1_000 == 999:
                await session.commit()
        await session.commit()
    return time.perf_counter() - began
