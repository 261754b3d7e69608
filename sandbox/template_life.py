"""A template's life: review, quality, pauses, held messages, and the webhooks that tell of it.

Rules from Meta's pages "Template review", "Template quality", "Template pausing" and "Template pacing": a RED template
is paused for 3 hours, then 6, then disabled; messages held back for quality assessment are released or fail 132015.
"""

from typing import Literal

from sandbox import outcomes
from sandbox.payloads import template_quality, to_json
from sandbox.simulation import Sandbox
from sandbox.state import Message, Template

_PAUSES = (("FIRST_PAUSE", 3 * 3600), ("SECOND_PAUSE", 6 * 3600))
Quality = Literal["GREEN", "YELLOW", "RED", "UNKNOWN"]


def submit(sandbox: Sandbox, template: Template, *, verdict_s: float) -> None:
    """Put a template under review; the verdict falls after `verdict_s` virtual seconds (0: before the answer)."""
    template.status = "PENDING"
    if verdict_s <= 0:
        review(sandbox, template)
    else:
        sandbox.scheduler.at(sandbox.later(verdict_s), review, sandbox, template)


def review(sandbox: Sandbox, template: Template) -> None:
    """The reviewer's verdict: rejected when the name contains "reject" or the text repeats another template's."""
    if template.status != "PENDING":
        return
    if "reject" in template.name:
        reject(sandbox, template, "INVALID_FORMAT", "The name asks the simulator for a rejection.")
    elif _repeats(template):
        reject(sandbox, template, "INVALID_FORMAT", "Body and footer repeat another template in this language.")
    else:
        approve(sandbox, template)


def _repeats(template: Template) -> bool:
    if template.category == "AUTHENTICATION":
        return False
    text = (template.compiled.body_text, template.compiled.footer)
    return any(
        other.language == template.language
        and other.id != template.id
        and other.status in ("APPROVED", "PAUSED")
        and (other.compiled.body_text, other.compiled.footer) == text
        for other in template.waba.templates.values()
    )


def approve(sandbox: Sandbox, template: Template) -> None:
    """Approve, and say so."""
    template.status, template.rejected_reason = "APPROVED", "NONE"
    sandbox.say_template(template, "APPROVED")


def reject(sandbox: Sandbox, template: Template, reason: str, recommendation: str) -> None:
    """Reject, and say why."""
    template.status, template.rejected_reason = "REJECTED", reason
    sandbox.say_template(
        template, "REJECTED", reason, rejection_info={"reason": reason, "recommendation": recommendation}
    )


def pause(sandbox: Sandbox, template: Template) -> None:
    """Pause for low quality: 3 hours, then 6, then for good."""
    if template.pauses >= len(_PAUSES):
        disable(sandbox, template)
        return
    title, seconds = _PAUSES[template.pauses]
    template.pauses += 1
    template.status = "PAUSED"
    sandbox.say_template(
        template, "PAUSED",
        other_info={"title": title, "description": f"Paused for {seconds // 3600} hours because of user feedback."},
    )  # fmt: skip
    sandbox.scheduler.at(sandbox.later(seconds), _resume_pause, sandbox, template, template.pauses)


def _resume_pause(sandbox: Sandbox, template: Template, pauses: int) -> None:
    if template.status == "PAUSED" and template.pauses == pauses:
        resume(sandbox, template)


def resume(sandbox: Sandbox, template: Template) -> None:
    """End a pause."""
    template.status = "APPROVED"
    sandbox.say_template(template, "APPROVED", other_info={"title": "UNPAUSE", "description": "The pause is over."})


def disable(sandbox: Sandbox, template: Template) -> None:
    """Disable for good."""
    template.status = "DISABLED"
    sandbox.say_template(
        template, "DISABLED", other_info={"title": "DISABLED", "description": "Disabled because of user feedback."}
    )


def rate(sandbox: Sandbox, template: Template, score: Quality) -> None:
    """Give a quality score; RED pauses the template."""
    previous, template.quality, template.quality_at = template.quality, score, sandbox.clock.now()
    value = template_quality(template, previous)
    sandbox.say_value(template.waba, None, "message_template_quality_update", value)
    if score == "RED" and template.status == "APPROVED":
        pause(sandbox, template)


def recategorise(sandbox: Sandbox, template: Template, category: str) -> None:
    """Change the category at once, as Meta does for businesses it has warned before ("Template categorization")."""
    previous, template.category, template.previous_category = template.category, category, template.category
    value = {
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
        "previous_category": previous,
        "new_category": category,
    }
    sandbox.say_value(template.waba, None, "template_category_update", to_json(value))


def release_held(sandbox: Sandbox, template: Template) -> int:
    """Let the held messages go; returns how many."""
    held, template.held = template.held, []
    for message in held:
        _let_go(sandbox, message)
        outcomes.begin(sandbox, message)
    return len(held)


def drop_held(sandbox: Sandbox, template: Template) -> int:
    """Fail the held messages with 132015 and pause the template until it is unpaused; returns how many failed."""
    held, template.held = template.held, []
    template.status = "PAUSED"
    sandbox.say_template(
        template, "PAUSED", other_info={"title": "RATE_LIMITING_PAUSE", "description": "Paused by pacing."}
    )
    for message in held:
        _let_go(sandbox, message)
        outcomes.fail(sandbox, message, 132015)
    return len(held)


def _let_go(sandbox: Sandbox, message: Message) -> None:
    message.held, message.outcome = False, "accepted"
    sandbox.store.moved(message, "held")
