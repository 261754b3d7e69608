"""What happens to numbers and accounts, and the webhooks that tell of it; steered under `/_sandbox/`.

Shapes follow Meta's webhook reference for `phone_number_quality_update`, `business_capability_update`,
`account_update` and `account_alerts`.
"""

from typing import Literal

import msgspec
from litestar import Controller, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody

from sandbox.faults import Fault, FaultName
from sandbox.limits import SlidingWindow
from sandbox.payloads import to_json
from sandbox.simulation import Sandbox
from sandbox.state import Number, Waba

UPGRADED = 1000


class NumberIn(msgspec.Struct, forbid_unknown_fields=True):
    """What happens to a number now; `limit` reads `tier`."""

    action: Literal["flag", "unflag", "upgrade_throughput", "limit"]
    tier: str = "TIER_10K"


class AccountIn(msgspec.Struct, forbid_unknown_fields=True):
    """What happens to an account now. While it is restricted or disabled its sends are refused with 131031."""

    action: Literal["restrict", "disable", "reinstate", "violation", "alert", "capability"]
    tier: str = "TIER_10K"


def change_number(sandbox: Sandbox, number: Number, action: str, tier: str) -> None:
    """Flag the number's quality, take that back, raise its throughput or its messaging limit; and say so."""
    value: dict[str, object] = {"display_phone_number": number.config.display_phone_number}
    if action == "upgrade_throughput":
        number.config = msgspec.structs.replace(number.config, throughput=UPGRADED)
        number.window = SlidingWindow(UPGRADED)
        value |= {"event": "THROUGHPUT_UPGRADE", "max_daily_conversations_per_business": "TIER_UNLIMITED"}
    elif action == "limit":
        number.config = msgspec.structs.replace(number.config, messaging_limit=tier)
        value |= {"event": "UPGRADE", "current_limit": tier, "max_daily_conversations_per_business": tier}
    else:
        rating: Literal["RED", "GREEN"] = "RED" if action == "flag" else "GREEN"
        number.config = msgspec.structs.replace(number.config, quality_rating=rating)
        value |= {"event": "FLAGGED" if action == "flag" else "UNFLAGGED"}
    sandbox.say_value(number.waba, None, "phone_number_quality_update", to_json(value))


def change_account(sandbox: Sandbox, waba: Waba, action: str, tier: str) -> None:
    """Restrict, disable or reinstate the account, warn it, or raise its limits; and say so."""
    if action == "capability":
        value: dict[str, object] = {"max_daily_conversations_per_business": tier, "max_phone_numbers_per_business": 20}
        sandbox.say_value(waba, None, "business_capability_update", to_json(value))
        return
    if action == "alert":
        told = {
            "alert_severity": "WARNING",
            "alert_status": "ACTIVE",
            "alert_type": "SANDBOX",
            "alert_description": "-",
        }
        value = {"entity_type": "BUSINESS", "entity_id": waba.config.portfolio_id, "alert_info": told}
        sandbox.say_value(waba, None, "account_alerts", to_json(value))
        return
    others: dict[FaultName, Fault] = {
        name: state.fault for name, state in sandbox.faults.active.items() if name != "account_locked"
    }
    if action in ("restrict", "disable"):
        others["account_locked"] = Fault()
    if action != "violation":
        sandbox.faults.replace(others)
    sandbox.say_value(waba, None, "account_update", to_json(_ACCOUNT_UPDATES[action]))


_ACCOUNT_UPDATES: dict[str, dict[str, object]] = {
    "restrict": {
        "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [{"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 4_000_000_000}],
    },
    "disable": {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}},
    "reinstate": {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}},
    "violation": {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}},
}


class AccountLife(Controller):
    """Steering numbers and accounts."""

    path = "/_sandbox"

    @post("/numbers/{number_id:str}", status_code=202, sync_to_thread=False)
    def number(self, state: State, number_id: FromPath[str], data: JSONBody[NumberIn]) -> dict[str, object]:
        """Flag, unflag or upgrade a number; its webhook follows."""
        sandbox: Sandbox = state["sandbox"]
        found = sandbox.store.numbers.get(number_id)
        if found is None:
            raise NotFoundException("no such phone number id")
        change_number(sandbox, found, data.action, data.tier)
        return {"throughput": found.config.throughput, "quality_rating": found.config.quality_rating}

    @post("/accounts/{waba_id:str}", status_code=202, sync_to_thread=False)
    def account(self, state: State, waba_id: FromPath[str], data: JSONBody[AccountIn]) -> dict[str, object]:
        """Restrict, disable, reinstate or warn an account; its webhook follows."""
        sandbox: Sandbox = state["sandbox"]
        found = sandbox.store.wabas.get(waba_id)
        if found is None:
            raise NotFoundException("no such account")
        change_account(sandbox, found, data.action, data.tier)
        return {"faults": sorted(sandbox.faults.active)}
