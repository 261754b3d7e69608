"""Lists as cursor pages."""

from typing import Annotated, Generic, TypeVar

from litestar.params import QueryParameter
from msgspec import Struct

Item = TypeVar("Item")

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="Items on a page")]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before")]
Words = Annotated[str | None, QueryParameter(max_length=200, description="Part of the name")]


class PageOut(Struct, Generic[Item]):
    """One page; `next` is null on the last."""

    items: list[Item]
    next: str | None
