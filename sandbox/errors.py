"""Errors in the shape of the Graph API, and what each WhatsApp code says.

Codes, titles and HTTP statuses follow Meta's "Error codes" page
(https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes); where Meta gives no
HTTP status, 400 is used.
"""

import secrets
from typing import NamedTuple

import msgspec

HELP_URL = "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"


class CodeInfo(NamedTuple):
    """What a code means: its usual HTTP status and its title."""

    http_status: int
    title: str


CODES: dict[int, CodeInfo] = {
    1: CodeInfo(400, "An unknown error occurred"),
    2: CodeInfo(503, "Service temporarily unavailable"),
    4: CodeInfo(400, "Application request limit reached"),
    10: CodeInfo(403, "Application does not have permission for this action"),
    33: CodeInfo(400, "Parameter value is not valid"),
    100: CodeInfo(400, "Invalid parameter"),
    190: CodeInfo(401, "Invalid OAuth 2.0 Access Token"),
    200: CodeInfo(403, "Permissions error"),
    368: CodeInfo(403, "Temporarily blocked for policies violations"),
    2200: CodeInfo(400, "Callback verification failed"),
    2500: CodeInfo(400, "Unknown path components"),
    80007: CodeInfo(400, "Rate limit issues"),
    130429: CodeInfo(400, "Rate limit hit"),
    130472: CodeInfo(400, "User's number is part of an experiment"),
    130497: CodeInfo(403, "Business account is restricted from messaging users in this country"),
    131000: CodeInfo(500, "Something went wrong"),
    131005: CodeInfo(403, "Access denied"),
    131008: CodeInfo(400, "Required parameter is missing"),
    131009: CodeInfo(400, "Parameter value is not valid"),
    131016: CodeInfo(500, "Service unavailable"),
    131021: CodeInfo(400, "Recipient cannot be sender"),
    131026: CodeInfo(400, "Message undeliverable"),
    131030: CodeInfo(400, "Recipient phone number not in allowed list"),
    131031: CodeInfo(403, "Account has been locked"),
    131037: CodeInfo(400, "Display name approval needed"),
    131042: CodeInfo(400, "Business eligibility payment issue"),
    131043: CodeInfo(400, "Message expired"),
    131045: CodeInfo(500, "Incorrect certificate"),
    131047: CodeInfo(400, "Re-engagement message"),
    131048: CodeInfo(400, "Spam rate limit hit"),
    131049: CodeInfo(400, "This message was not delivered to maintain healthy ecosystem engagement"),
    131050: CodeInfo(400, "User has stopped receiving marketing messages from this business"),
    131051: CodeInfo(400, "Unsupported message type"),
    131053: CodeInfo(400, "Media upload error"),
    131056: CodeInfo(400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: CodeInfo(500, "Account in maintenance mode"),
    131059: CodeInfo(400, "Invalid cursor"),
    132000: CodeInfo(400, "Number of parameters does not match the expected number of params"),
    132001: CodeInfo(404, "Template name does not exist in the translation"),
    132005: CodeInfo(400, "Translated text too long"),
    132007: CodeInfo(400, "Template format character policy violated"),
    132012: CodeInfo(400, "Parameter format does not match format in the created template"),
    132015: CodeInfo(400, "Template is paused"),
    132016: CodeInfo(400, "Template is disabled"),
    132018: CodeInfo(400, "There's an issue with the parameters in your template"),
    133010: CodeInfo(400, "Phone number not registered"),
}


class GraphError(Exception):
    """A refusal of the simulated API; `reply()` gives the HTTP status and the JSON body.

    `details` lands in `error_data.details`; Graph-level errors (100 about a path, 190, 2500) have no `error_data`.
    """

    def __init__(
        self,
        code: int,
        details: str | None = None,
        *,
        message: str | None = None,
        http_status: int | None = None,
        subcode: int | None = None,
        user_title: str | None = None,
        user_message: str | None = None,
        transient: bool | None = None,
    ) -> None:
        info = CODES.get(code, CodeInfo(400, "Error"))
        self.code, self.details, self.subcode = code, details, subcode
        self.message = message or f"(#{code}) {info.title}"
        self.http_status = http_status or info.http_status
        self.user_title, self.user_message, self.transient = user_title, user_message, transient
        super().__init__(self.message)

    def reply(self) -> tuple[int, bytes]:
        """HTTP status and body; every call has its own `fbtrace_id`."""
        error: dict[str, object] = {"message": self.message, "type": "OAuthException", "code": self.code}
        if self.details is not None:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.transient is not None:
            error["is_transient"] = self.transient
        if self.user_title is not None:
            error["error_user_title"] = self.user_title
        if self.user_message is not None:
            error["error_user_msg"] = self.user_message
        error["fbtrace_id"] = "A" + secrets.token_urlsafe(16)
        return self.http_status, msgspec.json.encode({"error": error})


def missing(name: str) -> GraphError:
    """A required top-level parameter is absent."""
    return GraphError(100, message=f"(#100) The parameter {name} is required.")


def unknown_object(node_id: str, method: str) -> GraphError:
    """The path names an object that does not exist or does not support the method (Graph code 100, subcode 33)."""
    verb = {"GET": "get", "DELETE": "delete"}.get(method, "post")
    return GraphError(
        100,
        message=(
            f"Unsupported {verb} request. Object with ID '{node_id}' does not exist, cannot be loaded due to missing"
            " permissions, or does not support this operation. Please read the Graph API documentation at"
            " https://developers.facebook.com/docs/graph-api"
        ),
        subcode=33,
    )


def unknown_path(path: str) -> GraphError:
    """No such version or path (Graph code 2500)."""
    return GraphError(2500, message=f"Unknown path components: /{path}")


def webhook_error(code: int, details: str) -> dict[str, object]:
    """An entry of `statuses[].errors[]`."""
    title = CODES[code].title
    return {
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": details},
        "href": HELP_URL,
    }
