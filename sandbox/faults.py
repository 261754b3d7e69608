"""Switchable faults: a small table of named troubles, each with a probability, a count and a time limit.

| Name | What happens to a send |
|---|---|
| `drop_response` | accepted and delivered, but the connection closes without an answer |
| `reset_connection` | the connection closes before the request is looked at |
| `slow_response` | the answer takes `delay_s` longer |
| `server_error` | HTTP `status` (500, 502, 503): Graph error when `json`, an HTML page otherwise; nothing is accepted |
| `rate_limited` | 130429 with HTTP `status` (429 unless told) |
| `token_expired` | 190 with subcode 463, for every call |
| `account_locked` | 131031 |
| `template_paused` | the template is paused (132015 for this and later sends) |
| `hold_for_quality` | accepted as `held_for_quality_assessment`, no status until the template is released or dropped |
| `portfolio_limit` | accepted, then `failed` 131048 by webhook |
| `error` | refused with `code` |
"""

from typing import Literal, get_args

import msgspec

from sandbox.clock import Clock
from sandbox.dice import Dice

FaultName = Literal[
    "drop_response",
    "reset_connection",
    "slow_response",
    "server_error",
    "rate_limited",
    "token_expired",
    "account_locked",
    "template_paused",
    "hold_for_quality",
    "portfolio_limit",
    "error",
]
FAULT_NAMES: tuple[FaultName, ...] = get_args(FaultName)


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How often a trouble strikes: the first `after` sends are spared, then each is hit with `probability`, at most
    `count` times, for `for_s` seconds. `template` and `phone_number_id` narrow it.
    """

    probability: float = 1.0
    after: int = 0
    count: int | None = None
    for_s: float | None = None
    template: str | None = None
    phone_number_id: str | None = None
    status: int | None = None
    json: bool = True
    delay_s: float = 2.0
    code: int = 131000


class FaultState(msgspec.Struct):
    """A fault and what it has done so far; `until` is Unix seconds."""

    fault: Fault
    until: float | None
    seen: int = 0
    struck: int = 0


class Faults:
    """The faults that are switched on."""

    def __init__(self, clock: Clock, dice: Dice) -> None:
        self._clock, self._dice = clock, dice
        self.active: dict[FaultName, FaultState] = {}

    def replace(self, table: dict[FaultName, Fault]) -> None:
        """Switch exactly these on."""
        now = self._clock.now()
        self.active = {
            name: FaultState(fault, None if fault.for_s is None else now + fault.for_s) for name, fault in table.items()
        }

    def strikes(self, name: FaultName, phone_number_id: str | None = None, template: str | None = None) -> Fault | None:
        """The fault if it hits this time. Asking counts."""
        state = self.active.get(name)
        if state is None or not self._concerns(state, phone_number_id, template):
            return None
        fault = state.fault
        state.seen += 1
        if state.seen <= fault.after:
            return None
        if fault.probability < 1 and not self._dice.draws("faults", name, state.seen).happens(fault.probability):
            return None
        state.struck += 1
        return fault

    def _concerns(self, state: FaultState, phone_number_id: str | None, template: str | None) -> bool:
        fault = state.fault
        return (
            fault.phone_number_id in (None, phone_number_id)
            and fault.template in (None, template)
            and (state.until is None or self._clock.now() <= state.until)
            and (fault.count is None or state.struck < fault.count)
        )
