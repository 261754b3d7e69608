"""Numbers anyone can trust and re-run: PostgreSQL → Parquet lake → one registry of metrics."""
