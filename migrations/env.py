"""Runs migrations on KAIRAN_DATABASE_URL, or on the connection handed over by the caller."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from core.db import make_engine
from core.models import Model
from core.models.base import Xid8
from core.settings import get_settings

ischema_names["xid8"] = Xid8  # so that comparing with the database knows our type


def migrate(connection: Connection) -> None:
    """Upgrade or compare on one connection; a lock that cannot be had in 5 s fails instead of blocking traffic."""
    context.configure(connection=connection, target_metadata=Model.metadata, compare_type=False)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


async def connect_and_migrate() -> None:
    engine = make_engine(get_settings().database_url, role=None)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    migrate(handed_over)
else:
    asyncio.run(connect_and_migrate())
