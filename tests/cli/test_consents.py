"""`kairan consents` against running processes: the people are counted first, and ended when it is meant."""

from datetime import UTC, datetime

import httpx

from tests.cli.conftest import assert_one_sentence
from tests.cli.test_webhooks import Installation, here, run_kairan, wait_until

__all__ = ["here"]
POINT = "stand 12, hall B"


def test_consents_of_a_bad_collection_point_are_counted_and_then_ended(here: Installation) -> None:
    made = run_kairan(here.environment, "keys", "add", "officer", "--role", "compliance")
    key = {"KAIRAN_API_KEY": made.stdout.strip()}
    headers = {"authorization": f"Bearer {key['KAIRAN_API_KEY']}"}
    with httpx.Client(base_url=here.url, headers=headers, trust_env=False) as client:
        wait_until(lambda: bool(client.get("/api/notices").json()["items"]))
        body = {
            "action": "opt_in",
            "source_record_id": "1",
            "occurred_at": datetime.now(UTC).isoformat(),
            "phone": "+4917012345670",
            "method": "paper",
            "notice_id": client.get("/api/notices").json()["items"][0]["id"],
            "collection_point": POINT,
            "evidence": {"sheet": "17"},
        }
        person = client.post("/api/consents", json=body).json()["contact_id"]
        command = ("consents", "invalidate", "--reason", "nobody signed")

        counted = here.kairan(*command, "--point", POINT, **key)
        before = client.get(f"/api/contacts/{person}/consents").json()["states"]
        done = here.kairan(*command, "--point", POINT, "--really", **key)
        after = client.get(f"/api/contacts/{person}/consents").json()["states"]

    assert (counted.returncode, done.returncode) == (0, 0), counted.stderr + done.stderr
    assert "Nothing was changed" in counted.stderr and "Nothing is sent" in done.stderr
    assert [each["state"] for each in before] == ["subscribed"]
    assert [each["state"] for each in after] == ["invalid"]
    assert_one_sentence(here.kairan(*command, "--point", "nowhere", **key), 1, "exactly this name")
    assert_one_sentence(here.kairan(*command, **key), 2, "name one of --import, --notice and --point")
    assert_one_sentence(here.kairan(*command, "--point", POINT), 1, "role")
