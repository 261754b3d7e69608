"""Refusals we expect, each with a stable code.

AppError
├── NotFound        404  no such thing
├── Conflict        409  the thing is not in a state that allows it
├── RuleViolation   422  a business rule says no; `fields` names what to correct
├── Forbidden       403  the role may not
├── Unauthorized    401  who are you
├── TooManyRequests 429  slow down; `retry_after_s`
├── Unavailable     503  a part is down; try again
└── SettingsError        the start stops with one sentence
"""

from typing import Any, ClassVar


class AppError(Exception):
    """A refusal with a sentence for people, a code for programs and facts (no personal data)."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class NotFound(AppError):
    code = "not_found"
    status = 404


class Conflict(AppError):
    code = "conflict"
    status = 409


class RuleViolation(AppError):
    code = "rule_violation"
    status = 422


class Forbidden(AppError):
    code = "forbidden"
    status = 403


class Unauthorized(AppError):
    code = "unauthorized"
    status = 401


class TooManyRequests(AppError):
    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, *, retry_after_s: int, **facts: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **facts)
        self.retry_after_s = retry_after_s


class Unavailable(AppError):
    code = "unavailable"
    status = 503


class SettingsError(AppError):
    code = "settings"
