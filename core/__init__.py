"""The shared domain: models, consent rules, the WhatsApp client, settings. Imports nothing else of ours."""
