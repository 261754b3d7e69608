"""Logging: JSON lines on standard error, with phone numbers and tokens masked wherever they slip in."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRETS = re.compile(r"(Bearer\s+|access_token=|EAA)[A-Za-z0-9._\-|]+")
_PHONES = re.compile(r"(?<![\w-])\+?\d{9,15}(?![\w-])")
_NEVER_MASKED = frozenset({"timestamp", "event", "level"})


def mask_text(text: str) -> str:
    """The text without tokens and without phone numbers: what is 9 to 15 digits long keeps its last two."""
    text = _SECRETS.sub(r"\1***", text)
    return _PHONES.sub(lambda found: f"***{found.group()[-2:]}", text)


def _mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key not in _NEVER_MASKED:
            event[key] = mask_text(value)
    return event


def set_up_logging(level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers to standard error as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel("WARNING")  # it logs every request's URL
