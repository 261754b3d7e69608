"""Python's garbage collector in processes that live long and make many small objects without circles.

What is alive at the start (modules, routes, statements) stays alive, and looking through it for circles again and
again took a fifth of the API's time under load, in pauses of hundreds of milliseconds, and half of an import's.
"""

import gc

SELDOM = (200_000, 20, 20)  # allocations before the collector looks, and how seldom it looks at what is older


def look_seldom() -> None:
    """To be called once, when everything is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)
