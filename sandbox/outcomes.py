"""What becomes of an accepted message: sent, delivered, read or failed, as its recipient's plan says.

Prices follow Meta's rules since 1 October 2026 ("Pricing", "Non-template messages"): marketing and utility templates
always carry `regular`; free-form messages are `free_customer_service` for the first 1,000 delivered per number and
calendar month, then `regular`. Before that date in-window utility and all free-form messages were free.
"""

from datetime import UTC, datetime

from sandbox import humans
from sandbox.errors import CODES, webhook_error
from sandbox.people import Plan
from sandbox.simulation import Sandbox
from sandbox.state import Message, Status

_OCTOBER_2026 = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
_FREE_SERVICE_A_MONTH = 1000
_DETAILS = {
    130472: "Failed to send message because this user's phone number is part of an experiment",
    131000: "Something went wrong.",
    131026: "Message Undeliverable.",
    131047: "Message failed to send because more than 24 hours have passed since the customer last replied.",
    131048: "Message failed to send because there are restrictions on how many messages can be sent.",
    131049: "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
    131050: "The user has stopped receiving marketing messages from this business.",
    131053: "Downloading media from the link failed.",
    132015: "Template was paused because of low quality; the held message was not sent.",
}


def begin(sandbox: Sandbox, message: Message, *, forced_code: int = 0, early: bool = False) -> None:
    """Start the life of a message after its 200; `forced_code` makes it fail, `early` sends `sent` at once."""
    code = forced_code or _failure(sandbox, message)
    if code:
        sandbox.scheduler.at(sandbox.later(sandbox.profile.sent_s), _fail, sandbox, message, code)
        return
    plan = sandbox.people.plan(message)
    if early:
        _sent(sandbox, message, plan, at_once=True)
    else:
        sandbox.scheduler.at(sandbox.later(plan.sent_s), _sent, sandbox, message, plan)


def fail(sandbox: Sandbox, message: Message, code: int) -> None:
    """Fail a message now."""
    _fail(sandbox, message, code)


def _failure(sandbox: Sandbox, message: Message) -> int:
    """The error code of a message that Meta will not deliver, else 0."""
    person, pin = message.person, message.person.pin
    window_open = message.number.thread(person.wa_id).window_until > sandbox.clock.now()
    if pin is not None and pin.fails is not None and not pin.fails_after_sent:
        return pin.fails
    if not sandbox.people.traits(person).on_whatsapp:
        return 131026
    if message.marketing:
        return _marketing_failure(sandbox, message, window_open)
    return 131047 if message.template is None and message.kind != "reaction" and not window_open else 0


def _marketing_failure(sandbox: Sandbox, message: Message, window_open: bool) -> int:
    """Refusals of marketing; an open window exempts from the experiment and from the per-user limit."""
    person = message.person
    traits = sandbox.people.traits(person)
    if person.country == "US":
        return 131049
    if message.number.thread(person.wa_id).stopped_marketing:
        return 131050
    if window_open:
        return 0
    if traits.experiment:
        return 130472
    return 131049 if traits.marketing_limited and _still_limited(sandbox, message) else 0


def _still_limited(sandbox: Sandbox, message: Message) -> bool:
    """The per-user limit clears 24 to 72 virtual hours after it first struck, unless pinned."""
    person, now = message.person, sandbox.clock.now()
    if person.pin is not None and person.pin.marketing_limited:
        return True
    if not person.limited_until:
        hours = sandbox.dice.draws(person.wa_id, "limit").between(24, 72)
        person.limited_until = sandbox.later(hours * 3600)
    return now < person.limited_until


def _fail(sandbox: Sandbox, message: Message, code: int) -> None:
    details = _DETAILS.get(code, CODES[code].title)
    sandbox.reached(message, Status.FAILED, code, error=webhook_error(code, details))


def _sent(sandbox: Sandbox, message: Message, plan: Plan, at_once: bool = False) -> None:
    reacting = message.kind == "reaction"  # a reaction is only ever `sent`
    pricing = None if reacting else _price(sandbox, message, Status.SENT, plan)
    sandbox.reached(message, Status.SENT, pricing=pricing, at_once=at_once)
    if reacting:
        return
    if plan.fails_after_sent is not None:
        after = sandbox.later(plan.delivered_s or 0.0)
        sandbox.scheduler.at(after, _fail, sandbox, message, plan.fails_after_sent)
        if plan.delivered_after_failed:
            sandbox.scheduler.at(after + 1 / sandbox.config.time_scale, _delivered, sandbox, message, plan)
    elif plan.delivered_s is not None:
        sandbox.scheduler.at(sandbox.later(plan.delivered_s), _delivered, sandbox, message, plan)


def _delivered(sandbox: Sandbox, message: Message, plan: Plan) -> None:
    if not plan.skips_delivered:
        sandbox.reached(message, Status.DELIVERED, pricing=_price(sandbox, message, Status.DELIVERED, plan))
    humans.on_delivered(sandbox, message, plan)
    if plan.read_s is not None:
        sandbox.scheduler.at(sandbox.later(plan.read_s), _read, sandbox, message, plan)


def _read(sandbox: Sandbox, message: Message, plan: Plan) -> None:
    sandbox.reached(message, Status.READ, pricing=_price(sandbox, message, Status.READ, plan))
    humans.on_read(sandbox, message, plan)


def _price(sandbox: Sandbox, message: Message, reached: Status, plan: Plan) -> dict[str, object] | None:
    """The `pricing` object, on one status of each message: `sent` or `delivered`, or `read` when that was skipped."""
    if message.priced:
        return None
    if reached is Status.SENT and (message.template is None or message.sequence % 2 or plan.delivered_s is None):
        return None  # free-form messages are counted when delivered; half of the templates are priced on delivery
    message.priced = True
    now = sandbox.clock.now()
    if message.template is not None:
        category = message.template.category.lower()
        window_open = message.number.thread(message.person.wa_id).window_until > message.accepted_at
        free = category == "utility" and window_open and now < _OCTOBER_2026
    else:
        category = "service"
        free = now < _OCTOBER_2026 or _within_allowance(message, now)
    return {
        "billable": not free,
        "pricing_model": "PMP",
        "type": "free_customer_service" if free else "regular",
        "category": category,
    }


def _within_allowance(message: Message, now: float) -> bool:
    number = message.number
    month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
    if number.service_month != month:
        number.service_month, number.service_delivered = month, 0
    number.service_delivered += 1
    return number.service_delivered <= _FREE_SERVICE_A_MONTH
