"""Payment intents, attempts and operations; when money moves."""
