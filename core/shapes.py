"""What a person's own fields and amounts look like, wherever they come from; pure."""

from typing import Annotated

from msgspec import Meta

# `(?!\n)$` because a bare $ also matches before a line break at the end.
COUNTRY = r"^[A-Z]{2}(?!\n)$"
CURRENCY = r"^[A-Z]{3}(?!\n)$"

Name = Annotated[str, Meta(max_length=200)]
Language = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*(?!\n)$", max_length=35)]
Country = Annotated[str, Meta(pattern=COUNTRY)]
Zone = Annotated[str, Meta(max_length=64)]
