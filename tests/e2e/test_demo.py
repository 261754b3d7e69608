"""The whole product in one go: what `kairan demo` promises."""

import json
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_campaign_goes_through_every_part(tmp_path: Path) -> None:
    environment = settings(tmp_path)

    ended = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "demo", "--exit", "--json", "--messages", "200"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:] + (tmp_path / "data/logs/worker.log").read_text()[-4000:]
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert summary["ok"]
    assert all(summary["checks"].values())
    assert (summary["duplicates_sent"], summary["messages_to_opted_out"]) == (0, 0)
    assert sum(summary["messages"].values()) == summary["audience"] > 200
    assert summary["messages"]["queued"] == summary["messages"]["sending"] == summary["messages"]["unknown"] == 0
    assert summary["messages"]["read"] > 50
    assert sum(summary["import"]["verdicts"].values()) == summary["import"]["rows"] == 240
    assert summary["import"]["verdicts"]["accepted"] == 200
    picture, question, held_out = summary["variants"]
    assert (picture["variant"], question["variant"], held_out["variant"]) == ("picture", "question", "held out")
    assert picture["targeted"] + question["targeted"] + held_out["holdout"] == summary["audience"]
    assert (
        picture["delivery_rate_denominator"] + question["delivery_rate_denominator"]
        == picture["sent"] + question["sent"]
    )
    assert picture["read_rate_numerator"] + question["read_rate_numerator"] == summary["messages"]["read"]
    assert summary["conversions"]["recorded"] == summary["orders"] + summary["refunds"] > 0
    assert summary["audit"]["verified"]


def settings(folder: Path) -> dict[str, str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    names = ("KAIRAN_API_PORT", "KAIRAN_DASHBOARD_PORT", "KAIRAN_SANDBOX_PORT")
    paths = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return dict(zip(names, ports, strict=True)) | paths | {"KAIRAN_DATA_DIR": str(folder / "data")}
