"""Routing rules as sentences, and their form's fields as the API's body; pure."""

from datetime import time

from dashboard.chat_payloads import Actions, Conditions, Hours, RoutingRule
from dashboard.payloads import Json

DAYS = {"mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat", "sun": "Sun"}


def listed(text: str) -> list[str]:
    """What stands between commas or line ends."""
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def when(conditions: Conditions) -> str:
    """The conditions of a rule as a sentence."""
    parts = []
    if conditions.words:
        how = "is" if conditions.match == "equals" else "contains"
        parts.append(f"the text {how} {' or '.join(f'“{word}”' for word in conditions.words)}")
    if conditions.payloads:
        parts.append(f"a button with {' or '.join(conditions.payloads)} is tapped")
    if conditions.outside_hours is not None:
        parts.append(f"it is outside {hours(conditions.outside_hours)}")
    if conditions.first_message:
        parts.append("the person writes for the first time")
    if conditions.sender_id:
        parts.append("it comes to one certain number")
    if conditions.languages:
        parts.append(f"the person's language is {' or '.join(conditions.languages)}")
    return ", and ".join(parts) if parts else "anything is written"


def then(actions: Actions) -> str:
    """What a rule does, as a sentence."""
    parts = [f"answer “{actions.reply}”"] if actions.reply else []
    parts += [f"tag the contact {actions.tag}"] if actions.tag else []
    parts += ["hand over to a person"] if actions.hand_over else []
    return ", ".join(parts)


def hours(opened: Hours) -> str:
    """Opening hours as people say them."""
    days = ", ".join(DAYS.get(day, day) for day in opened.days)
    return f"{days} {opened.from_} to {opened.until}"


def body(
    *,
    name: str,
    words: str,
    is_exact: bool,
    payloads: str,
    days: list[str],
    opens: time,
    closes: time,
    outside: bool,
    first: bool,
    languages: str,
    reply: str,
    tag: str,
    hand_over: bool,
    pause_minutes: int,
    enabled: bool,
) -> Json:
    """The API's body of a rule, out of the form's fields."""
    conditions: Json = {"words": listed(words), "match": "equals" if is_exact else "contains"}
    conditions |= {"payloads": listed(payloads), "first_message": first, "languages": listed(languages)}
    if outside:
        conditions["outside_hours"] = {"days": days, "from": f"{opens:%H:%M}", "until": f"{closes:%H:%M}"}
    actions: Json = {"hand_over": hand_over}
    actions |= {"reply": reply.strip()} if reply.strip() else {}
    actions |= {"tag": tag.strip()} if tag.strip() else {}
    return {
        "name": name.strip(),
        "conditions": conditions,
        "actions": actions,
        "pause_minutes": pause_minutes,
        "enabled": enabled,
    }


def switched(rule: RoutingRule, *, enabled: bool) -> Json:
    """The body that changes nothing but whether the rule is on."""
    conditions = rule.conditions
    given: Json = {
        "words": list(conditions.words),
        "match": conditions.match,
        "payloads": list(conditions.payloads),
        "first_message": conditions.first_message,
        "languages": list(conditions.languages),
        "sender_id": conditions.sender_id,
    }
    if conditions.outside_hours is not None:
        opened = conditions.outside_hours
        given["outside_hours"] = {"days": opened.days, "from": opened.from_, "until": opened.until}
    actions: Json = {"reply": rule.actions.reply, "tag": rule.actions.tag, "hand_over": rule.actions.hand_over}
    return {
        "name": rule.name,
        "conditions": given,
        "actions": actions,
        "pause_minutes": rule.pause_minutes,
        "enabled": enabled,
    }
