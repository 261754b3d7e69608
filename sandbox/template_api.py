"""Message templates of the Graph API: create, list, read, edit, unpause, delete.

Shapes follow Meta's node references for WhatsApp Business accounts and message templates.
"""

from collections.abc import Callable, Mapping

from sandbox import template_life, templates
from sandbox.calls import Call
from sandbox.errors import GraphError, missing
from sandbox.fields import page, selected
from sandbox.state import Template, numeric_id

_DAY_S = 86400
_SUCCESS: dict[str, object] = {"success": True}
_TEMPLATE_DEFAULT = ("name", "parameter_format", "components", "language", "status", "category", "id")


def template_fields(template: Template) -> dict[str, object]:
    """Every field of a template node."""
    fields: dict[str, object] = {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "sub_category": "CUSTOM",
        "parameter_format": template.parameter_format,
        "components": template.components,
        "quality_score": {"score": template.quality, "date": int(template.quality_at)},
        "rejected_reason": template.rejected_reason,
    }
    if template.previous_category is not None:
        fields["previous_category"] = template.previous_category
    if template.ttl_s is not None:
        fields["message_send_ttl_seconds"] = template.ttl_s
    return fields


def create_template(call: Call) -> object:
    """`POST /{waba_id}/message_templates`."""
    sandbox, waba = call.sandbox, call.sandbox.store.wabas[call.node]
    given = call.parameters()
    name, language, category = templates.check_name(given.get("name"), given.get("language"), given.get("category"))
    parameter_format = str(given.get("parameter_format") or "POSITIONAL").upper()
    components = given.get("components")
    compiled = templates.compile_template(components, parameter_format, category)
    existing = waba.templates.get((name, language))
    if existing is not None:
        raise GraphError(
            100, message="Invalid parameter", subcode=templates.LANGUAGE_EXISTS, transient=False,
            user_title="Content in This Language Already Exists",
            user_message=f"There is already {language} content for this template. You can create a new template and try"
            " again.",
        )  # fmt: skip
    if len(waba.templates) >= sandbox.config.templates_per_waba:
        raise GraphError(
            100, message="Invalid parameter", subcode=templates.COUNT_LIMIT, transient=False,
            user_title="Template count limit reached", user_message="This account has reached its template limit.",
        )  # fmt: skip
    if not waba.creations.admit(sandbox.clock.now()):
        raise GraphError(80007, message="(#80007) There have been too many calls to this WhatsApp Business account.")
    template = Template(
        numeric_id("3", waba.config.id, name, language), waba, name, language, category, parameter_format,
        _upper(components), compiled, ttl_s=_ttl(given, category),
    )  # fmt: skip
    waba.templates[name, language] = template
    sandbox.store.templates[template.id] = template
    template_life.submit(sandbox, template, verdict_s=sandbox.config.template_review_s)
    return {"id": template.id, "status": template.status, "category": template.category}


def _ttl(given: Mapping[str, object], category: str) -> int | None:
    """`message_send_ttl_seconds` within what Meta allows for the category ("Time to live")."""
    seconds = given.get("message_send_ttl_seconds")
    if seconds is None:
        return None
    low, high = {"AUTHENTICATION": (30, 900), "UTILITY": (30, 43_200), "MARKETING": (43_200, 2_592_000)}[category]
    if not isinstance(seconds, int) or not (low <= seconds <= high or (seconds == -1 and category != "MARKETING")):
        raise GraphError(100, message=f"(#100) Param message_send_ttl_seconds must be between {low} and {high}.")
    return seconds


def _upper(components: object) -> list[dict[str, object]]:
    """Components as Graph gives them back: `type` and `format` in upper case."""
    shown: list[dict[str, object]] = []
    for component in components if isinstance(components, list) else []:
        copy = dict(component)
        for key in ("type", "format"):
            if isinstance(copy.get(key), str):
                copy[key] = copy[key].upper()
        if isinstance(copy.get("buttons"), list):
            copy["buttons"] = [button | {"type": str(button["type"]).upper()} for button in copy["buttons"]]
        shown.append(copy)
    return shown


def list_templates(call: Call) -> object:
    """`GET /{waba_id}/message_templates`, filtered and cursor-paged."""
    found = list(call.sandbox.store.wabas[call.node].templates.values())
    filters: dict[str, Callable[[Template, str], bool]] = {
        "name": lambda template, value: template.name == value,
        "status": lambda template, value: template.status == value.upper(),
        "category": lambda template, value: template.category == value.upper(),
        "language": lambda template, value: template.language == value,
        "quality_score": lambda template, value: template.quality == value.upper(),
        "name_or_content": lambda template, value: value in template.name or value in template.compiled.body_text,
    }
    for name, matches in filters.items():
        if name in call.query:
            found = [template for template in found if matches(template, call.query[name])]
    return page(call, [selected(template_fields(template), call.query, _TEMPLATE_DEFAULT) for template in found])


def get_template(call: Call) -> object:
    """`GET /{template_id}`."""
    return selected(template_fields(call.sandbox.store.templates[call.node]), call.query, _TEMPLATE_DEFAULT)


def edit_template(call: Call) -> object:
    """`POST /{template_id}`: new components or TTL, category unless approved; reviewed again, and quickly.

    Approved templates take one edit in 24 hours and ten in 30 days.
    """
    sandbox, template = call.sandbox, call.sandbox.store.templates[call.node]
    if template.status not in ("APPROVED", "REJECTED", "PAUSED"):
        raise _not_now("Message templates can only be edited when approved, rejected or paused.")
    given = call.parameters()
    category = str(given.get("category") or template.category).upper()
    if category not in templates.CATEGORIES:
        raise GraphError(100, message=f"(#100) Param category must be one of {{{', '.join(templates.CATEGORIES)}}}.")
    if template.status == "APPROVED" and category != template.category:
        raise _not_now("The category of an approved template cannot be changed.")
    components = given.get("components", template.components)
    compiled = templates.compile_template(components, template.parameter_format, category)
    now = sandbox.clock.now()
    if template.status == "APPROVED":
        month = [at for at in template.edited_at if now - at < 30 * _DAY_S]
        if len(month) >= 10 or any(now - at < _DAY_S for at in month):
            raise _not_now("An approved template can be edited once in 24 hours and ten times in 30 days.")
        template.edited_at.append(now)
    template.category, template.compiled, template.components = category, compiled, _upper(components)
    template.ttl_s = _ttl(given, category) if "message_send_ttl_seconds" in given else template.ttl_s
    template_life.submit(sandbox, template, verdict_s=sandbox.config.template_review_s)
    return _SUCCESS


def unpause_template(call: Call) -> object:
    """`POST /{template_id}/unpause`."""
    template = call.sandbox.store.templates[call.node]
    if template.status != "PAUSED":
        raise _not_now("Only a paused template can be unpaused.")
    template_life.resume(call.sandbox, template)
    return _SUCCESS


def delete_templates(call: Call) -> object:
    """`DELETE /{waba_id}/message_templates?name=` (all languages) or `&hsm_id=` (one)."""
    sandbox, waba = call.sandbox, call.sandbox.store.wabas[call.node]
    name, template_id = call.query.get("name"), call.query.get("hsm_id")
    if not name:
        raise missing("name")
    doomed = [
        template for template in waba.templates.values() if template.name == name and template_id in (None, template.id)
    ]
    if not doomed:
        raise GraphError(100, message="Invalid parameter", user_title="Message Template Not Found", subcode=2593002)
    if any(template.status == "DISABLED" for template in doomed):
        raise _not_now("A disabled template cannot be deleted.")
    for template in doomed:
        template.status = "DELETED"
        del waba.templates[template.name, template.language], sandbox.store.templates[template.id]
        sandbox.say_template(template, "DELETED", None)
    return _SUCCESS


def _not_now(details: str) -> GraphError:
    return GraphError(100, message="Invalid parameter", user_title="Template cannot be changed", user_message=details)
