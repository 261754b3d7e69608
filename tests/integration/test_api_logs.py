"""What is logged tells operators enough, and nobody anything about people."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from core.log import set_up_logging
from core.statuses import Role
from tests.factories import a_campaign, a_sender, a_template, an_audience, an_import, consenting, csv_of, launched
from tests.integration.stack import PASSWORD, Stack
from tests.integration.test_webhooks import body, change, deliver, said

PEOPLE = [f"+4917012345{number:02d}" for number in range(8)]
NAMES = ["Annegret", "Balthasar", "Cunigunde", "Dagobert", "Eulalia", "Fridolin", "Gundula", "Hildebrand"]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, set up as the processes set it up; as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logging("DEBUG")
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    written = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_a_whole_campaign_leaves_no_number_name_token_or_text_in_the_log(
    stack: Stack, logged: io.StringIO
) -> None:
    sender = await a_sender(stack)
    template = await a_template(stack, sender)
    rows = [consenting(phone, name=name) for phone, name in zip(PEOPLE, NAMES, strict=True)]
    await an_import(stack, csv_of([*rows, {"phone": "+49170nonsense", "name": "Isidora"}]))
    await an_import(stack, b'phone,name\n+4917012345678,"Isidora\n')
    await stack.client.post("/api/consents", json={"phone": PEOPLE[0], "action": "opt_in"})
    await stack.client.get("/api/contacts", params={"phone": PEOPLE[0], "q": NAMES[1]})
    await stack.client.post("/api/session", json={"email": "marketer@example.org", "password": "wrong secret"})
    auditor = await stack.sign_in(Role.AUDITOR)
    await launched(stack, await a_campaign(stack, sender, template, await an_audience(stack)))
    await deliver(stack, body(change(messages=[said("my secret wish", PEOPLE[2]), said("STOP", PEOPLE[3])])))
    await deliver(stack, b'{"entry": ' + PEOPLE[4].encode())
    await stack.settle()

    log = logged.getvalue()
    events = [json.loads(line) for line in log.splitlines()]
    assert {"import.done", "import.failed"} <= {event.get("event") for event in events}
    secrets = [stack.settings.whatsapp_access_token, stack.settings.whatsapp_app_secret, PASSWORD, "wrong secret"]
    secrets += [auditor.headers["authorization"].split()[1], stack.client.headers["authorization"].split()[1]]
    people = [digits for phone in PEOPLE for digits in (phone, phone[1:], f"0{phone[3:]}")]
    for private in [*people, *NAMES, "Isidora", "nonsense", "my secret wish", "everything is 20 %", *secrets]:
        assert private not in log, private
