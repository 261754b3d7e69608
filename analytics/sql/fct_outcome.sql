-- Grain: one message that metrics may count: no tests, no replies in a conversation; holdout members with empty sets.
-- Cost is what the provider reported, else the rate card's price when billable, else 0 when free; null: nobody knows.
-- Days are cut here and nowhere else, in the organisation's zone; local hours in the recipient's.
SELECT
    m.*,
    timezone(run.time_zone, m.queued_at)::DATE AS day,
    m.clicked OR m.replied OR m.opted_out AS engaged,
    CASE
        WHEN NOT m.delivered THEN 0
        WHEN m.reported_cost_micros IS NOT NULL THEN m.reported_cost_micros
        WHEN m.billable THEN p.price_micros
        WHEN m.free THEN 0
    END AS cost_micros,
    CASE
        WHEN NOT m.delivered THEN 'undelivered'
        WHEN m.reported_cost_micros IS NOT NULL THEN 'reported'
        WHEN m.billable AND p.price_micros IS NOT NULL THEN 'rate_card'
        WHEN m.free AND NOT m.billable THEN 'free'
        ELSE 'unknown'
    END AS cost_source,
    CASE
        WHEN m.delivered AND m.delivered_evidence = 'receipt' AND m.sent_at IS NOT NULL
            THEN greatest(date_diff('microsecond', m.sent_at, m.delivered_at), 0) / 1e6
    END AS deliver_s,
    m.delivered AND m.delivered_evidence = 'receipt' AND m.sent_at > m.delivered_at AS clock_skewed,
    c.campaign_name, c.audience_name, c.sender_name, v.variant_label, t.template_name, t.template_language,
    t.template_version
FROM fct_message AS m
CROSS JOIN run
LEFT JOIN dim_campaign AS c ON c.campaign_id = m.campaign_id
LEFT JOIN dim_variant AS v ON v.variant_id = m.variant_id
LEFT JOIN dim_template AS t ON t.template_version_id = m.template_version_id
LEFT JOIN dim_price AS p
    ON p.market = m.country
    AND p.category = m.category
    AND p.currency = run.currency
    AND p.effective_from <= m.delivered_at::DATE
    AND p.effective_until > m.delivered_at::DATE
WHERE m.kind IN ('campaign', 'triggered')
