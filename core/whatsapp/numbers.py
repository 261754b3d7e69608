"""What the provider says about one of the organisation's numbers.

Fields of developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers, read 2026-11.
"""

from typing import TypeVar

import msgspec

from core.errors import RuleViolation, Unavailable
from core.whatsapp.client import WhatsAppClient

Shape = TypeVar("Shape")
FIELDS = "id,display_phone_number,verified_name,quality_rating,throughput,whatsapp_business_manager_messaging_limit"
UNKNOWN_OBJECT = 100


class Throughput(msgspec.Struct):
    level: str | None = None  # STANDARD: 80 messages a second, HIGH: 1,000


class Number(msgspec.Struct):
    """`messaging_limit` is TIER_250 … TIER_UNLIMITED, or not told."""

    id: str
    display_phone_number: str
    verified_name: str | None = None
    quality_rating: str | None = None
    throughput: Throughput | None = None
    messaging_limit: str | None = msgspec.field(name="whatsapp_business_manager_messaging_limit", default=None)

    @property
    def most_per_second(self) -> int:
        return 1000 if self.throughput and self.throughput.level == "HIGH" else 80


class _Numbers(msgspec.Struct):
    data: list[Number]


async def read(client: WhatsAppClient, waba_id: str, phone_number_id: str) -> Number:
    """The number as the provider knows it.

    Raises RuleViolation when the token does not reach it or the account has no such number, Unavailable when the
    provider cannot be asked.
    """
    number = await _ask(client, phone_number_id, "phone_number_id", f"no number with the id {phone_number_id}", Number)
    missing = f"no account with the id {waba_id}"
    mine = await _ask(client, f"{waba_id}/phone_numbers", "waba_id", missing, _Numbers)
    if phone_number_id not in {each.id for each in mine.data}:
        raise RuleViolation(
            f"the number {number.display_phone_number} does not belong to the account {waba_id}: its id is in the"
            " WhatsApp Manager, under account tools, phone numbers",
            field="waba_id",
        )
    return number


async def _ask(client: WhatsAppClient, node: str, field: str, missing: str, shape: type[Shape]) -> Shape:
    try:
        answer = await client.ask(node, fields=FIELDS, limit="100")
    except RuleViolation as refused:
        if refused.facts.get("provider_code") != UNKNOWN_OBJECT:
            raise
        raise RuleViolation(
            f"WhatsApp knows {missing}, or the access token may not use it. Copy the id from the WhatsApp Manager, and"
            " give the token's system user this account.",
            field=field,
        ) from refused
    try:
        return msgspec.json.decode(answer, type=shape)
    except msgspec.DecodeError as wrong:
        raise Unavailable("the provider's answer was not understood") from wrong
