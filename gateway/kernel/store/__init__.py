"""The store: one writer, many units of work, one commit for all that wait. SQLite and PostgreSQL."""
