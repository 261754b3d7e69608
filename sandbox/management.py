"""The rest of the Graph API: numbers, accounts, subscriptions, media, uploads, tokens.

Fields and shapes follow Meta's node references for WhatsApp Business accounts and phone numbers.
"""

from collections.abc import Mapping

from sandbox import media
from sandbox.calls import Call, Reply
from sandbox.errors import GraphError, missing, unknown_object
from sandbox.fields import page, selected
from sandbox.state import Number
from sandbox.webhooks import Target

_SUCCESS: dict[str, object] = {"success": True}
_URI_LIMIT = 200


# --- numbers --------------------------------------------------------------------------------------------------------

_NUMBER_DEFAULT = (
    "verified_name", "code_verification_status", "display_phone_number", "quality_rating", "platform_type",
    "throughput", "id",
)  # fmt: skip


def _number_fields(number: Number) -> dict[str, object]:
    config = number.config
    override = number.target or number.waba.target
    return {
        "id": config.id,
        "display_phone_number": config.display_phone_number,
        "verified_name": config.verified_name,
        "name_status": "APPROVED",
        "code_verification_status": "VERIFIED",
        "quality_rating": config.quality_rating,
        "platform_type": "CLOUD_API",
        "throughput": {"level": "HIGH" if config.throughput >= 1000 else "STANDARD"},
        "status": "CONNECTED",
        "account_mode": "LIVE",
        "whatsapp_business_manager_messaging_limit": config.messaging_limit,
        "is_official_business_account": False,
        "webhook_configuration": {} if override is None else {"application": override.url},
        "health_status": {
            "can_send_message": "AVAILABLE",
            "entities": [{"entity_type": "PHONE_NUMBER", "id": config.id, "can_send_message": "AVAILABLE"}],
        },
    }


def get_number(call: Call) -> object:
    """`GET /{phone_number_id}`."""
    return selected(_number_fields(call.sandbox.store.numbers[call.node]), call.query, _NUMBER_DEFAULT)


async def post_number(call: Call) -> object:
    """`POST /{phone_number_id}`: an override callback for this number, verified before it is kept."""
    number = call.sandbox.store.numbers[call.node]
    configuration = call.parameters().get("webhook_configuration")
    if not isinstance(configuration, dict):
        raise missing("webhook_configuration")
    number.target = await _override(call, configuration)
    return _SUCCESS


def list_numbers(call: Call) -> object:
    """`GET /{waba_id}/phone_numbers`."""
    waba = call.sandbox.store.wabas[call.node]
    numbers = [call.sandbox.store.numbers[config.id] for config in waba.config.numbers]
    items = [selected(_number_fields(number), call.query, _NUMBER_DEFAULT) for number in numbers]
    return page(call, items)


def get_waba(call: Call) -> object:
    """`GET /{waba_id}`."""
    config = call.sandbox.store.wabas[call.node].config
    fields = {
        "id": config.id,
        "name": config.name,
        "currency": config.currency,
        "timezone_id": "1",
        "message_template_namespace": "sandbox_" + config.id,
        "account_review_status": "APPROVED",
        "business_verification_status": "verified",
    }
    return selected(fields, call.query, ("id", "name", "timezone_id", "message_template_namespace"))


# --- subscriptions --------------------------------------------------------------------------------------------------


async def subscribe(call: Call) -> object:
    """`POST /{waba_id}/subscribed_apps`, with or without an override callback, verified before it is kept."""
    waba = call.sandbox.store.wabas[call.node]
    parameters = call.parameters()
    target = await _override(call, parameters) if "override_callback_uri" in parameters else None
    waba.subscribed, waba.target = True, target
    return _SUCCESS


def list_subscriptions(call: Call) -> object:
    """`GET /{waba_id}/subscribed_apps`."""
    waba, config = call.sandbox.store.wabas[call.node], call.sandbox.config
    if not waba.subscribed:
        return {"data": []}
    app = {
        "id": config.app_id,
        "name": config.app_name,
        "link": f"https://www.facebook.com/games/?app_id={config.app_id}",
    }
    entry: dict[str, object] = {"whatsapp_business_api_data": app}
    if waba.target is not None:
        entry["override_callback_uri"] = waba.target.url
    return {"data": [entry]}


def unsubscribe(call: Call) -> object:
    """`DELETE /{waba_id}/subscribed_apps`: no webhooks from this account any more."""
    waba = call.sandbox.store.wabas[call.node]
    waba.subscribed, waba.target = False, None
    return _SUCCESS


async def subscribe_app(call: Call) -> object:
    """`POST /{app_id}/subscriptions`: the app's own callback, verified before it is kept."""
    parameters = call.parameters()
    if parameters.get("object") != "whatsapp_business_account":
        raise GraphError(100, message="(#100) Param object must be one of {WHATSAPP_BUSINESS_ACCOUNT}.")
    call.sandbox.webhooks.app_target = await _verified(call, parameters.get("callback_url"), parameters, "callback_url")
    return _SUCCESS


async def _override(call: Call, parameters: Mapping[str, object]) -> Target | None:
    uri = parameters.get("override_callback_uri")
    return await _verified(call, uri, parameters, "override_callback_uri") if uri else None


async def _verified(call: Call, uri: object, parameters: Mapping[str, object], name: str) -> Target:
    if not isinstance(uri, str) or not uri.startswith(("https://", "http://")) or len(uri) > _URI_LIMIT:
        raise GraphError(100, message=f"(#100) Param {name} must be a URL of at most {_URI_LIMIT} characters.")
    token = parameters.get("verify_token")
    if not isinstance(token, str) or not token:
        raise missing("verify_token")
    target = Target(uri, token)
    if not await call.sandbox.webhooks.verify(target):
        raise GraphError(
            2200, message=f"(#2200) Callback verification failed with the following errors: {target.problem}"
        )
    return target


# --- media and uploads ----------------------------------------------------------------------------------------------


def upload_media(call: Call) -> object:
    """`POST /{phone_number_id}/media` (multipart)."""
    number = call.sandbox.store.numbers[call.node]
    parts = {part.name: part for part in call.parts()}
    if "file" not in parts:
        raise missing("file")
    fields = {name: part.content.decode("utf-8", "replace") for name, part in parts.items() if name != "file"}
    file = parts["file"]
    return {"id": media.store_media(call.sandbox, number, fields, file.content, file.content_type)}


def get_media(call: Call) -> object:
    """`GET /{media_id}`."""
    found = call.sandbox.store.media[call.node]
    wanted = call.query.get("phone_number_id")
    if wanted not in (None, found.number.config.id):
        raise unknown_object(call.node, call.method)
    return media.describe(call.sandbox, found, call.base_url)


def delete_media(call: Call) -> object:
    """`DELETE /{media_id}`."""
    del call.sandbox.store.media[call.node]
    return _SUCCESS


def start_upload(call: Call) -> object:
    """`POST /{app_id}/uploads`."""
    parameters = {name: str(value) for name, value in call.parameters().items()}
    return {"id": media.start_upload(call.sandbox, parameters)}


def continue_upload(call: Call) -> object:
    """`POST /upload:…` with `file_offset`."""
    upload = media.upload_of(call.sandbox, call.node, call.query, call.method)
    return media.add_to_upload(call.sandbox, upload, call.headers.get("file_offset"), call.body)


def upload_offset(call: Call) -> object:
    """`GET /upload:…`: how far an interrupted upload came."""
    upload = media.upload_of(call.sandbox, call.node, call.query, call.method)
    return {"id": upload.id, "file_offset": len(upload.received)}


def download_media(call: Call) -> Reply:
    """The bytes behind a media link; 404 once it is five minutes old."""
    found = media.download(call.sandbox, call.query)
    return Reply(404, b"", b"text/plain") if found is None else Reply(200, found.content, found.mime_type.encode())


# --- tokens ---------------------------------------------------------------------------------------------------------


def debug_token(call: Call) -> object:
    """`GET /debug_token?input_token=`."""
    config, token = call.sandbox.config, call.query.get("input_token")
    if token is None:
        raise missing("input_token")
    expires = config.token_expires_at
    valid = token == config.access_token and (expires is None or call.sandbox.clock.now() < expires)
    data: dict[str, object] = {"app_id": config.app_id, "type": "SYSTEM_USER", "application": config.app_name}
    scopes = ["whatsapp_business_management", "whatsapp_business_messaging"] if valid else []
    wabas = [waba.id for waba in config.wabas]
    data |= {
        "expires_at": int(expires or 0),
        "is_valid": valid,
        "scopes": scopes,
        "granular_scopes": [{"scope": scope, "target_ids": wabas} for scope in scopes],
        "user_id": "800000000000001",
    }
    if not valid:
        data["error"] = {"code": 190, "message": "The access token is invalid or has expired."}
    return {"data": data}
