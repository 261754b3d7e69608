"""Every refusal as an RFC 9457 problem: what is wrong, where, and a code for programs."""

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from sqlalchemy.exc import DBAPIError, OperationalError

from api.sentences import FieldError, decoding_error, field_error
from core.errors import AppError, TooManyRequests

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
AnyRequest = Request[Any, Any, Any]
TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "Rule broken",
    429: "Too many requests",
    503: "Unavailable",
}


# What the framework says when it refuses a request before a handler runs, in words that say what to do.
_SENTENCES = {
    "Not Found": "there is nothing at this address",
    "Method Not Allowed": "this address does not take that method",
    "Request Entity Too Large": "the request is too large",
    "Invalid multipart/form-data": "the form cannot be read: send multipart/form-data with every part, files as files",
}


def problem(
    status: int,
    detail: str,
    code: str,
    *,
    errors: list[FieldError] | None = None,
    facts: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response[dict[str, Any]]:
    """One problem document; `facts` are further members."""
    body: dict[str, Any] = {
        **(facts or {}),
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = errors
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def on_app_error(_: AnyRequest, error: AppError) -> Response[dict[str, Any]]:
    facts = dict(error.facts)
    field = facts.pop("field", None)
    errors = [FieldError(str(field), error.message)] if field else None
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, TooManyRequests) else None
    return problem(error.status, error.message, error.code, errors=errors, facts=facts, headers=headers)


def on_validation_error(_: AnyRequest, error: ValidationException) -> Response[dict[str, Any]]:
    errors = [
        field_error(str(item.get("key", "body")), str(item.get("message", "")))
        for item in (error.extra if isinstance(error.extra, list) else [])
        if isinstance(item, Mapping)
    ] or [decoding_error(error.detail)]
    return problem(400, errors[0].message, "bad_request", errors=errors)


def on_http_error(_: AnyRequest, error: HTTPException) -> Response[dict[str, Any]]:
    headers = {str(key): str(value) for key, value in (error.headers or {}).items()}
    if isinstance(error.__cause__, SerializationException):
        wrong = decoding_error(error.detail)
        return problem(400, wrong.message, "bad_request", errors=[wrong])
    code = TITLES.get(error.status_code, "error").lower().replace(" ", "_")
    return problem(error.status_code, _SENTENCES.get(error.detail, error.detail), code, headers=headers)


def on_database_down(_: AnyRequest, error: DBAPIError) -> Response[dict[str, Any]]:
    """Values the database cannot hold are the caller's; a lost connection is ours."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state.startswith("22"):
        return problem(400, "a number or a time is out of range, or a text holds a NUL character", "bad_request")
    log.error("database.failed", state=state, error=str(error.orig).partition("\n")[0])
    if isinstance(error, OperationalError) or error.connection_invalidated or state.startswith(("08", "57", "53")):
        return problem(503, "the database is not available; try again", "unavailable", headers={"retry-after": "2"})
    return problem(500, "something went wrong on our side; it is logged", "internal")


def on_connection_refused(_: AnyRequest, error: OSError) -> Response[dict[str, Any]]:
    log.error("dependency.down", error=type(error).__name__)
    return problem(503, "a part is not available; try again", "unavailable", headers={"retry-after": "2"})


def on_bug(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    log.exception("request.failed", path=request.url.path, method=request.method, exc_info=error)
    return problem(500, "something went wrong on our side; it is logged", "internal")
