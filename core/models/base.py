"""Model: the declarative base, constraint naming and the type map."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Date, DateTime, Enum, LargeBinary, MetaData, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: a row's own tells which export window it belongs to."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def _words(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]


class Model(DeclarativeBase):
    """Every table: a UUIDv7 id made by the database, and the instant it was made (UTC)."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        bytes: LargeBinary,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        date: Date,
        UUID: Uuid,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        StrEnum: Enum(StrEnum, native_enum=False, create_constraint=True, length=24, values_callable=_words),
    }


class WithId(Model):
    """A table whose rows have their own id and know when they were made."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.uuidv7(), sort_order=-2)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=-1)


class WithSequence(Model):
    """An append-only table: rows are numbered, and carry the transaction that wrote them."""

    __abstract__ = True

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-3)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), sort_order=-2)
    xid: Mapped[int] = mapped_column(Xid8, server_default=func.pg_current_xact_id(), index=True, sort_order=-1)
