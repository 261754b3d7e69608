"""Text for cells of exported tables; pure."""

import re

_E164 = re.compile(r"\+\d{6,15}")


def harmless(cell: str) -> str:
    """The cell with an apostrophe before it when a spreadsheet would run it as a formula; phone numbers stay."""
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and cell and not _E164.fullmatch(cell):
        return f"'{cell}"
    return cell
