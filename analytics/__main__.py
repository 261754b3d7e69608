"""`python -m analytics`: one refresh of the lake in a process of its own; prints the version it is at then."""

import sys

from analytics.refresh import refresh
from core.settings import get_settings

sys.stdout.write(f"{refresh(get_settings()).version}\n")
