"""What other systems tell about people, and erasing somebody, keep out of each other's way.

Erasure takes the lock alone: nothing on its way can bring back, or keep, what is being erased.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_SHARED = text("SELECT pg_advisory_xact_lock_shared(hashtextextended('kairan.sources', 0))")
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('kairan.sources', 0))")


async def while_nobody_is_erased(session: AsyncSession) -> None:
    """Until the transaction ends, nobody is erased."""
    await session.execute(_SHARED)


async def keep_out(session: AsyncSession) -> None:
    """Wait until nothing is being applied, and let nothing begin before this transaction ends."""
    await session.execute(_ALONE)
