"""Intervals, as polars expressions over whole frames."""

import polars as pl

Z95 = 1.959963984540054  # the standard normal's 97.5 % point


def wilson(successes: pl.Expr, trials: pl.Expr, *, z: float = Z95) -> tuple[pl.Expr, pl.Expr]:
    """Lower and upper end of Wilson's score interval of a share, in 0..1; null when there are no trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212. Unlike the textbook interval it stays within 0..1 and keeps
    its level for small samples and extreme shares (Brown, Cai, DasGupta, Statistical Science 16 (2001), 101-133).
    """
    n = trials.cast(pl.Float64)
    share = successes.cast(pl.Float64) / n
    centre = share + z * z / (2 * n)
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)).sqrt()
    scale = 1 + z * z / n
    return (
        pl.when(trials > 0).then(((centre - half) / scale).clip(0.0, 1.0)),
        pl.when(trials > 0).then(((centre + half) / scale).clip(0.0, 1.0)),
    )
