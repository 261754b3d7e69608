"""The HTTP API: shapes and status codes; decisions live in core."""
