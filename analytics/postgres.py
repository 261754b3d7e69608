"""Connections to PostgreSQL for the lake: streaming reads as the reader, one compare-and-set as the application."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from adbc_driver_postgresql import dbapi

from core.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

READER = "kairan_reader"
APPLICATION = "kairan_app"


def connect_snapshot(settings: Settings) -> "Connection":
    """A connection whose transaction is REPEATABLE READ, READ ONLY: every statement sees one snapshot."""
    return _connect(
        settings,
        READER,
        {"default_transaction_isolation": r"repeatable\ read", "default_transaction_read_only": "on"},
        autocommit=False,
    )


def connect_reader(settings: Settings) -> "Connection":
    """A connection that may only read; each statement stands alone."""
    return _connect(settings, READER, {}, autocommit=True)


def connect_application(settings: Settings) -> "Connection":
    """A connection that may move the head; each statement commits. Waiting for a lock ends after five minutes."""
    return _connect(settings, APPLICATION, {"lock_timeout": "300s"}, autocommit=True)


def _connect(settings: Settings, role: str, options: dict[str, str], *, autocommit: bool) -> "Connection":
    if not settings.database_url:
        raise ValueError("the lake needs a database: set KAIRAN_DATABASE_URL")
    given = urlsplit(settings.database_url)
    parameters = dict(parse_qsl(given.query))
    wanted = {"role": role, "application_name": "kairan-lake", "TimeZone": "UTC", **options}
    flags = [parameters.pop("options", ""), *(f"-c {name}={value}" for name, value in wanted.items())]
    query = urlencode(parameters | {"options": " ".join(filter(None, flags))}, quote_via=quote)
    connection: Connection = dbapi.connect(urlunsplit(given._replace(query=query)), autocommit=autocommit)
    return connection
