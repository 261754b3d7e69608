"""arq workers: expand, send, record webhooks, import, export, refresh the lake, sweep."""
