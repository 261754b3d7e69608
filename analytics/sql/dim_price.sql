-- Grain: one price per delivered message: market × category × currency × the days it holds, `until` excluded.
SELECT
    market, category, currency, price_micros, effective_from,
    coalesce(
        lead(effective_from) OVER (PARTITION BY market, category, currency ORDER BY effective_from),
        DATE '9999-12-31'
    ) AS effective_until
FROM dim_rate
