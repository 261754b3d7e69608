"""The page of webhooks from other systems: made, tried, sent to, looked into and replayed."""

import base64
import hashlib
import hmac
import re
import time

import httpx

from core.statuses import Role
from tests.dashboard.conftest import Stack, Visit, said


def send(stack: Stack, address: str, secret: str, body: bytes, delivery: str) -> int:
    """What the other system does."""
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    path = re.sub(r"^https?://[^/]+", "", address)
    return httpx.post(stack.url + path, content=body, headers=headers).status_code


def test_a_source_is_made_tried_sent_to_and_replayed(busy_dashboard: Visit, chat_stack: Stack) -> None:
    at = busy_dashboard(Role.ADMIN, "sources")
    at.text_input(key="source_name_new").set_value("Tea CRM")
    at.text_area(key="source_body_new").set_value('{"phone": "+49 170 1234567", "first_name": "Ana"}').run()
    at.button(key="source_try_new").click().run()
    assert "Created" in said(at) and "+49 170 1234567" in said(at)

    at.button(key="source_save_new").click().run()
    assert "not shown again" in said(at)
    address, secret = at.code[0].value, at.code[1].value
    source = address.rpartition("/")[2]
    at.button(key="made_source_seen").click().run()
    assert secret not in [code.value for code in at.code]
    assert send(chat_stack, address, secret, b'{"phone": "+491701234567"}', "good") == 200
    assert send(chat_stack, address, secret, b'{"mobile": "+491701234568"}', "bad") == 202

    at.toggle(key=f"source_log_{source}").set_value(True).run()
    assert "name the person by phone" in said(at) and "Took effect" in said(at)
    at.button(key=f"source_look_{source}").click().run()
    assert '{"mobile": "+491701234568"}' in [code.value for code in at.code]
    at.button(key=f"source_all_{source}").click().run()
    assert not at.exception and "1 tried, 0 took effect." in [box.value for box in at.success]
    assert ">2<" in said(at), "the list is read again: tried twice"
    assert f"source_csv_{source}" in [str(each.key) for each in at.get("download_button")]

    at = busy_dashboard(Role.MARKETER, "sources")
    assert "Tea CRM" in said(at)
    assert f"source_edit_{source}" not in [button.key for button in at.button]


def test_what_cannot_be_a_source_is_refused_in_words(busy_dashboard: Visit) -> None:
    at = busy_dashboard(Role.ADMIN, "sources")

    at.text_input(key="source_name_new").set_value("Wrong")
    at.text_input(key="source_region_new").set_value("XX").run()
    at.button(key="source_save_new").click().run()

    assert "capital letters" in at.error[0].value


def test_without_a_source_the_page_says_so(new_dashboard: Visit) -> None:
    assert "No other system sends anything yet" in said(new_dashboard(Role.ANALYST, "sources"))
