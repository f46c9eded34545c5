"""Lists of changes by number, declined card checks, unique names of credentials, and what finds old rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_PER_MS = 1024
"""As in `wallets.vault.feeds`: what was listed by its time until now gets numbers that continue from it."""
_KEY_OF_ATTEMPTS = """
UPDATE vault_attempt SET fingerprint_key_id = COALESCE(
    (SELECT min(its.fingerprint_key_id) FROM vault_method AS its
     WHERE its.fingerprint = vault_attempt.fingerprint),
    (SELECT CASE WHEN count(*) = 1 THEN min(key_id) END FROM vault_key WHERE purpose = 'fingerprints')
) WHERE fingerprint IS NOT NULL
"""
"""Of the method that still has the fingerprint, else the only key there ever was. Otherwise nobody can tell."""


def upgrade() -> None:
    op.create_table(
        "vault_card_decline",
        sa.Column("decline_id", sa.Text(), nullable=False),
        sa.Column("card_code", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("decline_id", name=op.f("pk_vault_card_decline")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_vault_card_decline_at_ms"), "vault_card_decline", ["at_ms"])
    op.create_index("ix_vault_card_decline_card", "vault_card_decline", ["card_code", "at_ms"])

    op.create_table(
        "vault_feed",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_no", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_vault_feed")),
        sqlite_with_rowid=False,
    )
    _number("vault_operation", "operation_id", "changed_at_ms", "ix_vault_operation_changed", "operation")
    _number("vault_card_entry", "entry_id", "entered_at_ms", "ix_vault_card_entry_entered", "card_entry")
    op.create_index(op.f("ix_vault_card_entry_payment_method_id"), "vault_card_entry", ["payment_method_id"])
    # From now on an entry goes when the next one of its method comes, or the method goes.
    op.execute(
        "DELETE FROM vault_card_entry WHERE EXISTS (SELECT 1 FROM vault_card_entry AS later"
        " WHERE later.payment_method_id = vault_card_entry.payment_method_id"
        " AND (later.feed_no > vault_card_entry.feed_no"
        " OR (later.feed_no = vault_card_entry.feed_no AND later.entry_id > vault_card_entry.entry_id)))"
        " OR EXISTS (SELECT 1 FROM vault_method AS its"
        " WHERE its.payment_method_id = vault_card_entry.payment_method_id"
        " AND its.removed_at_ms IS NOT NULL)"
    )

    op.add_column("vault_attempt", sa.Column("fingerprint_key_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_vault_attempt_fingerprint_key_id"), "vault_attempt", ["fingerprint_key_id"])
    op.execute(_KEY_OF_ATTEMPTS)

    # Names were only looked up before, so two may have been given at one moment: the later one is told apart.
    op.execute(
        "UPDATE vault_credential SET name = substr(name, 1, 40) || '-' || substr(credential_id, 20, 12)"
        " WHERE revoked_at_ms IS NULL AND EXISTS (SELECT 1 FROM vault_credential AS first"
        " WHERE first.name = vault_credential.name AND first.revoked_at_ms IS NULL"
        " AND first.credential_id < vault_credential.credential_id)"
    )
    op.create_index(
        "uq_vault_credential_name",
        "vault_credential",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at_ms IS NULL"),
        postgresql_where=sa.text("revoked_at_ms IS NULL"),
    )

    op.add_column("vault_wallet_payload", sa.Column("good_until_ms", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_vault_wallet_payload_good_until_ms"), "vault_wallet_payload", ["good_until_ms"])
    op.create_index("ix_vault_webhook_received", "vault_webhook", ["received_at_ms"])
    op.create_index("ix_vault_guardian_approval_expires", "vault_guardian_approval", ["expires_at_ms"])


def _number(table: str, key: str, at: str, old_index: str, feed: str) -> None:
    op.add_column(table, sa.Column("feed_no", sa.BigInteger(), nullable=True))
    op.drop_index(old_index, table)
    op.execute(f"UPDATE {table} SET feed_no = {at} * {_PER_MS}")  # noqa: S608  # names of ours
    op.execute(
        f"INSERT INTO vault_feed (name, last_no) SELECT '{feed}', COALESCE(max(feed_no), 0) FROM {table}"  # noqa: S608  # names of ours
    )
    op.create_index(f"ix_{table}_feed", table, ["feed_no", key])
