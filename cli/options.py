"""Options that several commands have."""

from typing import Annotated

import typer

ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="KAIRAN_API_KEY", help="Key made with kairan keys add; asked otherwise."),
]
