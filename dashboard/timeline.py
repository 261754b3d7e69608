"""What happened to a person, in one sentence each; pure."""

from dashboard import format, words
from dashboard.people_payloads import Happening

KINDS = {
    "consent": "Consent",
    "inbound": "Wrote",
    "click": "Click",
    "order": "Order",
    "refund": "Refund",
    "event": "Event",
    "import": "Import",
    "created": "Contact",
    "data_request": "Request",
}
SAID = {
    "queued": "Prepared",
    "accepted": "WhatsApp took it",
    "held": "WhatsApp held it for a check",
    "sent": "Left WhatsApp",
    "delivered": "Arrived on the phone",
    "read": "Opened",
    "failed": "Failed",
    "rejected": "WhatsApp refused it",
    "suppressed": "Not sent",
    "click": "They followed the link",
    "reply": "They replied to the message",
    "opt_out": "They opted out after the message",
    "created": "They became a contact",
}


def kind(happening: Happening) -> str:
    """What it is about, in a word."""
    return KINDS.get(happening.kind, "Message")


def sentence(happening: Happening) -> str:
    """The entry in words, its facts included."""
    facts = {name: str(fact) for name, fact in happening.facts.items()}
    match happening.kind:
        case "consent":
            said = f"{words.plain(facts.get('event_type', '').lower())}: {words.purpose(facts.get('purpose', '*'))}"
            state = f", then {words.consent_state(facts.get('state')).lower()}" if "state" in facts else ""
            why = f" ({words.consent_reason(facts['reason'])})" if "reason" in facts else ""
            return said + state + why
        case "inbound":
            return (
                f"They wrote: {facts['text']}" if facts.get("text") else f"They sent: {facts.get('type', 'something')}"
            )
        case "order" | "refund":
            amount = happening.facts.get("amount_micros")
            paid = format.money(amount if isinstance(amount, int) else None, facts.get("currency", ""))
            verb = "They ordered" if happening.kind == "order" else "They got back"
            return f"{verb} {paid} (order {facts.get('order_id', '')})"
        case "event":
            return f"They did: {words.plain(facts.get('event', '')).lower()}"
        case "import":
            verdict = words.VERDICTS.get(facts.get("verdict", ""), (words.plain(facts.get("verdict", "")), ""))[0]
            return f"A row of {facts.get('filename', 'a file')}: {verdict.lower()}"
        case "data_request":
            return f"They asked for {facts.get('kind', '')} of their data ({facts.get('status', '')})"
        case _:
            return _message(happening.kind, facts)


def _message(kind: str, facts: dict[str, str]) -> str:
    said = SAID.get(kind, words.plain(kind))
    if facts.get("is_bot") == "True":
        said = "A program followed the link"
    if "campaign" in facts:
        said += f" ({facts['campaign']})"
    if kind == "suppressed" and "reason" in facts:
        said += f": {words.reason(facts['reason'])}"
    if "error_code" in facts:
        said += f" (error {facts['error_code']})"
    if facts.get("reason") == "retry":
        said += f"; tried again, {facts['attempt']} of its tries counted" if "attempt" in facts else "; tried again"
    return said
