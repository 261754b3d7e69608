"""Provider error codes as data: what each means, whose turn it is, and what we do about it.

Source: Meta's Cloud API error-code reference, developers.facebook.com/documentation/business-messaging/whatsapp/
support/error-codes, read 2026-11. HTTP codes vary in practice, so everything is decided by `code`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Action(StrEnum):
    """What a code makes us do."""

    RETRY = "retry"  # soon, with growing pauses
    RETRY_LATE = "retry_late"  # after a long fixed pause
    FIX = "fix"  # the request or the set-up is wrong: final
    SUPPRESS = "suppress"  # this address cannot be reached: final
    SUPPRESS_MARKETING = "suppress_marketing"  # no marketing to this person for now: final
    STOP_TEMPLATE = "stop_template"
    PAUSE_SENDER = "pause_sender"
    PAUSE_ACCOUNT = "pause_account"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a word, not a secret


@dataclass(frozen=True)
class ProviderError:
    """One code of the table."""

    code: int
    meaning: str
    next_step: str
    action: Action
    limiter: bool = False  # a limiter refused: it is no delivery failure
    wait_s: float = 0.0  # the least pause before it is tried again

    @property
    def retryable(self) -> bool:
        return self.action in (Action.RETRY, Action.RETRY_LATE)

    @property
    def after_giving_up(self) -> str:
        """What a person can do about messages that ended with this code."""
        return "They can be part of a later campaign." if self.retryable else self.next_step


def _rows(
    action: Action, *rows: tuple[int, str, str], limiter: bool = False, wait_s: float = 0.0
) -> list[ProviderError]:
    return [ProviderError(code, meaning, step, action, limiter, wait_s) for code, meaning, step in rows]


_WAIT = "Nothing to do: it is tried again by itself."
_TOKEN = "Create a new system user token and set KAIRAN_WHATSAPP_ACCESS_TOKEN."  # noqa: S105
_SUPPORT = "Open the account in WhatsApp Manager and follow what it asks for."
_TEMPLATE = "Check the template in WhatsApp Manager and synchronise templates."
_SETUP = "Check the request's values against the template and the number."

_TABLE = [
    *_rows(
        Action.RETRY,
        (1, "The provider could not process the request", _WAIT),
        (2, "The provider is down or overloaded", _WAIT),
        (131000, "Something went wrong at the provider", _WAIT),
        (133004, "The server is temporarily unavailable", _WAIT),
    ),
    *_rows(Action.RETRY, (131016, "The service is unavailable", _WAIT), wait_s=5),
    *_rows(
        Action.RETRY,
        (131057, "The account is in maintenance, for example while its throughput is raised", _WAIT),
        wait_s=60,
    ),
    *_rows(Action.RETRY, (130429, "The number's throughput is used up", _WAIT), limiter=True, wait_s=1),
    *_rows(
        Action.RETRY,
        (4, "The app called too often", _WAIT),
        (80007, "The account called management functions too often", _WAIT),
        (80008, "The account called management functions too often", _WAIT),
        (131056, "Too many messages to the same person", _WAIT),
        limiter=True,
        wait_s=60,
    ),
    *_rows(Action.RETRY_LATE, (132069, "The flow is throttled", "Wait an hour."), wait_s=3600),
    *_rows(Action.RETRY_LATE, (133015, "The number was deleted a moment ago", "Wait five minutes."), wait_s=300),
    *_rows(
        Action.RETRY_LATE,
        (134101, "The template is still being synchronised with ads", "Wait ten minutes."),
        wait_s=600,
    ),
    *_rows(
        Action.REFRESH_TOKEN,
        (0, "The access token is invalid", _TOKEN),
        (190, "The access token has expired or is invalid", _TOKEN),
        (131005, "Access was denied", _TOKEN),
    ),
    *_rows(
        Action.PAUSE_ACCOUNT,
        (10, "A permission is missing", _SUPPORT),
        (200, "A permission was not granted or was removed", _SUPPORT),
        (368, "The account is temporarily blocked for policy violations", _SUPPORT),
        (131031, "The account is locked", _SUPPORT),
        (131042, "There is a payment problem", "Add or repair the payment method in WhatsApp Manager."),
        (131064, "Templates were classified wrongly too often", _SUPPORT),
    ),
    *_rows(
        Action.PAUSE_SENDER,
        (33, "The phone number id does not exist or is not visible", "Check the sender's phone number id."),
        (131037, "The display name needs approval", _SUPPORT),
        (131045, "The number is not registered properly", "Register the number again."),
        (
            131048,
            "Too many of this number's messages were flagged, or the limit of people was reached",
            "Send less and better aimed; wait a day.",
        ),
        (133010, "The number is not registered", "Register the number."),
    ),
    *_rows(
        Action.STOP_TEMPLATE,
        (132001, "The template does not exist in this language or is not approved", _TEMPLATE),
        (132007, "The template breaks a content policy", _TEMPLATE),
        (132015, "The template is paused because of low quality", _TEMPLATE),
        (132016, "The template is disabled for good", "Make a new template."),
        (132068, "The flow is blocked", _TEMPLATE),
    ),
    *_rows(
        Action.SUPPRESS,
        (131021, "Sender and recipient are the same number", "Take the own number out of the audience."),
        (131026, "The message cannot be delivered: not on WhatsApp, or the app is too old", "Nothing to do."),
    ),
    *_rows(
        Action.SUPPRESS_MARKETING,
        (130472, "The person is in an experiment and gets no marketing", "Nothing to do."),
        (131049, "The person got enough marketing for now", "Do not send marketing to them for a day or more."),
        (131050, "The person stopped marketing from this business", "Respected: they are not messaged again."),
    ),
    *_rows(
        Action.FIX,
        (3, "The method needs a permission the app does not have", _SUPPORT),
        (100, "A parameter is invalid", _SETUP),
        (130497, "The business may not message this country", "Leave the country out of the audience."),
        (131008, "A required parameter is missing", _SETUP),
        (131009, "A parameter's value is invalid", _SETUP),
        (131030, "The recipient is not on the test number's list", "Add the recipient in the app's dashboard."),
        (131043, "The message expired before it could be delivered", "Nothing to do."),
        (131047, "More than 24 hours since the person wrote", "Send a template instead."),
        (131051, "The message type is not supported", _SETUP),
        (131052, "The person's media could not be downloaded", "Ask them to send it again."),
        (131053, "The media could not be uploaded", "Check the file's type and size."),
        (131062, "This message cannot go to a user id", "Send it to a phone number."),
        (131063, "Marketing is switched off on this endpoint", _SUPPORT),
        (132000, "The number of parameters does not match the template", _SETUP),
        (132005, "The filled-in text is too long", "Shorten the values."),
        (132012, "A parameter's format does not match the template", _SETUP),
        (132018, "The template's parameters are invalid", _SETUP),
        (134100, "Only marketing templates may be sent here", _SETUP),
        (134102, "The template is not available here", _TEMPLATE),
        (135000, "The provider refused the request without saying why", _SETUP),
        (137000, "The person's identity changed", "Confirm who they are before sending."),
        (192, "The phone number is invalid", _SETUP),
        (506, "The provider says it has this message already", "It may have arrived: its receipt decides."),
        (131014, "The media's link could not be fetched", "Check that the link can be opened by everybody."),
        (131020, "The group is invalid", "Send it to a person."),
        (131041, "The group is unknown", "Send it to a person."),
        (131044, "There is a payment problem with calls", "Add or repair the payment method in WhatsApp Manager."),
        (131055, "This way of sending is not allowed for marketing", _SETUP),
        (131059, "The list's cursor is no longer valid", "Ask for the list from its beginning."),
        (131060, "The person's message is not available", "Ask them to send it again."),
        (132008, "The value of a template's parameter is invalid", _SETUP),
        (134011, "The terms for payments are not accepted", "Accept them in WhatsApp Manager."),
        (200002, "The template could not be created", _TEMPLATE),
    ),
    *_rows(  # answers to the registering of numbers; nothing of them comes back for a message
        Action.FIX,
        (133000, "An earlier deregistration is not complete", "Deregister the number again."),
        (133005, "The number's PIN is wrong", "Use the PIN that was set when the number was registered."),
        (133006, "The number has to be verified first", "Verify the number in WhatsApp Manager."),
        (133008, "The PIN was guessed too often", "Wait as long as the provider says."),
        (133009, "The PIN was entered too fast", "Wait as long as the provider says."),
        (133016, "The number was registered too often", "Wait up to three days."),
    ),
    *_rows(  # answers to management calls: block lists, names, templates, insights, sign-up
        Action.FIX,
        *((code, "The flow could not be changed", _TEMPLATE) for code in range(139000, 139005)),
        *((code, "The block list could not be changed", "Try again later.") for code in range(139100, 139104)),
        *((code, "The user name could not be changed", _SUPPORT) for code in range(147001, 147006)),
        *((code, "The template's insights are not available", _TEMPLATE) for code in range(200005, 200008)),
        (1752041, "This account is signed up already", "Nothing to do."),
        (2388019, "The account has too many templates", "Delete templates nobody uses."),
        (2388040, "A field of the template is too long", _TEMPLATE),
        (2388047, "The template's header is malformed", _TEMPLATE),
        (2388072, "The template's body is malformed", _TEMPLATE),
        (2388073, "The template's footer is malformed", _TEMPLATE),
        (2388293, "The template has too many variables for its words", _TEMPLATE),
        (2388299, "The template begins or ends with a variable", _TEMPLATE),
    ),
]

ERRORS: dict[int, ProviderError] = {row.code: row for row in _TABLE}


def explain(code: int) -> ProviderError:
    """The table's row; an unknown code is shown as it is and treated as final, never retried."""
    if code in ERRORS:
        return ERRORS[code]
    if 200 <= code < 300:
        return replace(ERRORS[200], code=code)
    return ProviderError(code, f"Unknown provider error {code}", "Look the code up in Meta's reference.", Action.FIX)
