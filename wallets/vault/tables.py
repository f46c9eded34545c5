"""The vault's own database. Nothing in it can pay without the keys, which are kept elsewhere."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.schema import NAMING

metadata = MetaData(naming_convention=NAMING)

method = Table(
    "vault_method",
    metadata,
    Column("payment_method_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("expiry_month", Integer, nullable=False),
    Column("expiry_year", Integer, nullable=False),
    # Empty where the method has no number, and after its removal.
    Column("fingerprint_key_id", Text),
    Column("fingerprint", LargeBinary),
    # The record: see `wallets.vault.crypto`. Its version counts up when the card gets a new expiry.
    Column("record_version", Integer, nullable=False),
    Column("format_version", Integer, nullable=False),
    # Empty after removal: the row stays for the operations that refer to it.
    Column("kek_id", Text),
    Column("wrapped_key", LargeBinary),
    Column("nonce", LargeBinary),
    Column("ciphertext", LargeBinary),
    Column("created_at_ms", BigInteger, nullable=False),
    # PAR, where a provider returned one.
    Column("account_reference", Text),
    # Who takes it: chosen when it is stored. Empty: the provider that was the only one then.
    Column("provider", Text),
    Column("removed_at_ms", BigInteger),
    UniqueConstraint("fingerprint_key_id", "fingerprint", "customer_id"),
)

allowance = Table(
    "vault_allowance",
    metadata,
    Column("allowance_id", Text, primary_key=True),
    # The terms. All empty when a revocation came before the grant.
    Column("payment_method_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("order_id", Text),
    Column("channel", Text, nullable=False),
    Column("place_id", Text),
    Column("device_id", Text),
    Column("reason", Text, nullable=False),
    Column("max_amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # What was spent: authorizations that were not declined, failed or voided.
    Column("used_minor", BigInteger, nullable=False),
    Column("used_count", Integer, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    # Terms that few allowances have. `channel` holds several channels sorted, with a blank between.
    Column("not_before_ms", BigInteger),
    Column("session_id", Text),
    Column("world_id", Text),
    Column("device_key", Text),
    Column("category", Text),
    Column("max_item_minor", BigInteger),
    Column("max_per_hour_minor", BigInteger),
    Column("guardian_id", Text),
    Column("guardian_above_minor", BigInteger),
    CheckConstraint("used_minor >= 0 AND used_minor <= max_amount_minor", name="used_minor_in_terms"),
    CheckConstraint("used_count >= 0 AND used_count <= max_uses", name="used_count_in_terms"),
    sqlite_with_rowid=False,
)

operation = Table(
    "vault_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("kind", Text),
    Column("state", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("parent_id", Text),
    Column("allowance_id", Text),
    Column("payment_method_id", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    # What later operations took of this one, those in flight included: of an authorization by captures
    # and voids, of a capture by refunds.
    Column("captured_minor", BigInteger, nullable=False),
    Column("voided_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    # What the provider answered.
    Column("provider_reference", Text),
    Column("network_transaction_id", Text),
    Column("capture_before_ms", BigInteger),
    Column("decline_code", Text),
    Column("decline_class", Text),
    Column("action_id", Text),
    Column("action_path", Text),
    Column("refusal", Text),
    # Who was asked, and is asked about it. Empty: the provider that was the only one then.
    Column("provider", Text),
    Column("sent_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    # The limit that refused it, as JSON.
    Column("refused_limit", Text),
    Column("decline_advice", Text),
    # Of an authorization: its order where the allowance names none, who asked where not the customer, what
    # counts for a limit per hour, and the guardian's approval that it used.
    Column("order_id", Text),
    Column("initiation", Text),
    Column("hour_minor", BigInteger),
    Column("approval_id", Text),
    # What came with an authorization: PAR, and who bears fraud.
    Column("account_reference", Text),
    Column("liability", Text),
    # Of an authorization that another one replaces: how much of its open part that one has taken over.
    Column("replaced_minor", BigInteger),
    # Its place in the list of changes (`wallets.vault.feeds`); empty until its last change has got one.
    Column("feed_no", BigInteger),
    CheckConstraint(
        "captured_minor >= 0 AND voided_minor >= 0 AND refunded_minor >= 0", name="taken_positive"
    ),
    CheckConstraint("captured_minor + voided_minor <= amount_minor", name="taken_of_authorization"),
    CheckConstraint("refunded_minor <= amount_minor", name="taken_of_capture"),
    sqlite_with_rowid=False,
)

Index("ix_vault_operation_feed", operation.c.feed_no, operation.c.operation_id)
Index(
    "ix_vault_operation_parent",
    operation.c.parent_id,
    sqlite_where=operation.c.parent_id.is_not(None),
    postgresql_where=operation.c.parent_id.is_not(None),
)
# A webhook may only know the provider's name.
Index(
    "ix_vault_operation_reference",
    operation.c.provider_reference,
    sqlite_where=operation.c.provider_reference.is_not(None),
    postgresql_where=operation.c.provider_reference.is_not(None),
)


# Rotation asks how many records a key still wraps, and for the next of them.
Index("ix_vault_method_kek", method.c.kek_id, method.c.payment_method_id)

key = Table(
    "vault_key",
    metadata,
    # As the KMS knows it. Never key material.
    Column("key_id", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One current key of a purpose, and at most one on its way out.
for _state in ("current", "retiring"):
    Index(
        f"uq_vault_key_{_state}",
        key.c.purpose,
        unique=True,
        sqlite_where=key.c.state == _state,
        postgresql_where=key.c.state == _state,
    )

audit = Table(
    "vault_audit",
    metadata,
    # Never used again, so that a missing row leaves a gap.
    Column("audit_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)

audit_seal = Table(
    "vault_audit_seal",
    metadata,
    Column("seal_no", BigInteger, primary_key=True, autoincrement=False),
    Column("row_count", Integer, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    # Of each row its id and the beginning of its link of the chain: what tells which row is broken.
    Column("links", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("mac_key_id", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("sealed_at_ms", BigInteger, nullable=False),
)

credential = Table(
    "vault_credential",
    metadata,
    # Who may ask this vault for what. The secret itself is shown once and only its digest is kept.
    Column("credential_id", Text, primary_key=True),
    Column("secret_digest", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
)

# A name is who acted: nobody shares it while it is in use.
Index(
    "uq_vault_credential_name",
    credential.c.name,
    unique=True,
    sqlite_where=credential.c.revoked_at_ms.is_(None),
    postgresql_where=credential.c.revoked_at_ms.is_(None),
)

card_key = Table(
    "vault_card_key",
    metadata,
    # Key pairs to which browsers and devices encrypt cards; the private half is a record like a card's.
    Column("key_id", Text, primary_key=True),
    Column("modulus", Text, nullable=False),
    Column("exponent", Text, nullable=False),
    Column("format_version", Integer, nullable=False),
    Column("kek_id", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
)

card_session = Table(
    "vault_card_session",
    metadata,
    # Pages for entering one card. Found by the digest of the secret in the page's address.
    Column("session_digest", LargeBinary, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("return_url", Text),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    # One attempt at a time; a process that died in the middle of one blocks the page until then.
    Column("busy_until_ms", BigInteger, nullable=False),
    Column("payment_method_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_vault_card_session_expires", "expires_at_ms"),
)

sealed_card = Table(
    "vault_sealed_card",
    metadata,
    # Encrypted cards that were opened once, so that none is accepted twice within its time.
    Column("token_digest", LargeBinary, primary_key=True),
    Column("seen_at_ms", BigInteger, nullable=False, index=True),
)

card_entry = Table(
    "vault_card_entry",
    metadata,
    # What gateways read to learn of methods that were stored without them.
    Column("entry_id", Text, primary_key=True),
    Column("payment_method_id", Text, nullable=False, index=True),
    Column("entered_at_ms", BigInteger, nullable=False),
    # As an operation's.
    Column("feed_no", BigInteger),
    Index("ix_vault_card_entry_feed", "feed_no", "entry_id"),
)

feed = Table(
    "vault_feed",
    metadata,
    # The last number that a list of changes has given out.
    Column("name", Text, primary_key=True),
    Column("last_no", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

card_decline = Table(
    "vault_card_decline",
    metadata,
    # Declined checks of cards that were to be stored, each for the day in which it counts. The card by a code
    # under a key of the KMS.
    Column("decline_id", Text, primary_key=True),
    Column("card_code", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Index("ix_vault_card_decline_card", "card_code", "at_ms"),
    sqlite_with_rowid=False,
)


# Attempts that networks count: every declined authorization of a card, and those that were sent while an
# earlier decline of the card was recent. Whether one counts is the state of its operation.
attempt = Table(
    "vault_attempt",
    metadata,
    Column("operation_id", Text, primary_key=True),
    # The card by its fingerprint, its PAR, or both.
    Column("fingerprint", LargeBinary),
    Column("account_reference", Text),
    Column("network", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    # What the decline forbids (`declines.Blocks`) and whom it concerns; empty while there is no answer.
    Column("code", Text),
    Column("advice", Text),
    Column("blocks", Text),
    Column("counts", Integer, nullable=False),
    Column("wait_until_ms", BigInteger),
    Column("merchant_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("initiation", Text, nullable=False),
    # Of the fingerprint. Empty where a version before this column could not tell.
    Column("fingerprint_key_id", Text, index=True),
    sqlite_with_rowid=False,
)
Index(
    "ix_vault_attempt_fingerprint",
    attempt.c.fingerprint,
    attempt.c.at_ms,
    sqlite_where=attempt.c.fingerprint.is_not(None),
    postgresql_where=attempt.c.fingerprint.is_not(None),
)
Index(
    "ix_vault_attempt_account",
    attempt.c.account_reference,
    attempt.c.at_ms,
    sqlite_where=attempt.c.account_reference.is_not(None),
    postgresql_where=attempt.c.account_reference.is_not(None),
)

guardian_approval = Table(
    "vault_guardian_approval",
    metadata,
    Column("approval_id", Text, primary_key=True),
    Column("allowance_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("guardian_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("max_amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("operation_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    Index("ix_vault_guardian_approval_expires", "expires_at_ms"),
    sqlite_with_rowid=False,
)
Index(
    "ix_vault_guardian_approval_order",
    guardian_approval.c.allowance_id,
    guardian_approval.c.order_id,
)

# Requests that carry an Idempotency-Key (ACP). Never a body, which holds a card number: a MAC of it.
idempotency = Table(
    "vault_idempotency",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("mac_key_id", Text, nullable=False),
    # Empty while the key is free again after a request that failed.
    Column("body_mac", LargeBinary, nullable=False),
    # For whom a card may have been stored.
    Column("customer_id", Text, nullable=False),
    # Counts up with every taking of the key, so that one who lost it cannot answer.
    Column("claim", Integer, nullable=False),
    Column("claimed_until_ms", BigInteger, nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)

Index(
    "ix_vault_idempotency_unanswered",
    idempotency.c.claimed_until_ms,
    sqlite_where=idempotency.c.status.is_(None),
    postgresql_where=idempotency.c.status.is_(None),
)

# The cards behind delegated tokens, to be forgotten when their allowance has ended.
delegated_token = Table(
    "vault_delegated_token",
    metadata,
    Column("allowance_id", Text, primary_key=True),
    Column("payment_method_id", Text, nullable=False, index=True),
    Column("principal", Text, nullable=False),
    Column("forget_at_ms", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)

webhook = Table(
    "vault_webhook",
    metadata,
    # One row per event of a provider, however often it is sent.
    Column("provider", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    # What it is about: our id where the provider knows it, its own reference otherwise. The body is not
    # kept: it says nothing that is believed without asking, and may hold personal data.
    Column("operation_id", Text),
    Column("reference", Text),
    Column("body_digest", LargeBinary, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    # ``received``, ``processed``, ``parked``: about an operation that is not known here, or ``waiting``: the
    # provider did not say.
    Column("state", Text, nullable=False),
    Column("processed_at_ms", BigInteger),
    sqlite_with_rowid=False,
)

Index(
    "ix_vault_webhook_open",
    webhook.c.received_at_ms,
    sqlite_where=webhook.c.state != "processed",
    postgresql_where=webhook.c.state != "processed",
)
Index("ix_vault_webhook_received", webhook.c.received_at_ms)

wallet_payload = Table(
    "vault_wallet_payload",
    metadata,
    # SHA-256 of what was signed in a wallet's payload: its cryptogram pays once, so it comes in once.
    Column("digest", LargeBinary, primary_key=True),
    Column("stored_at_ms", BigInteger, nullable=False),
    # Until when its signatures alone would let it in once more.
    Column("good_until_ms", BigInteger, index=True),
    sqlite_with_rowid=False,
)

cash_operation = Table(
    "vault_cash_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("kind", Text),
    Column("parent_id", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    Column("outcome", Text, nullable=False),
    Column("failure", Text),
    # What staff counted, when they confirmed it.
    Column("tendered_minor", BigInteger),
    Column("rounding_minor", BigInteger),
    Column("change_minor", BigInteger),
    Column("confirmed_by", Text),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("decided_at_ms", BigInteger),
    sqlite_with_rowid=False,
)

Index(
    "ix_vault_cash_operation_open",
    cash_operation.c.received_at_ms,
    sqlite_where=cash_operation.c.outcome == "pending",
    postgresql_where=cash_operation.c.outcome == "pending",
)

voucher = Table(
    "vault_voucher",
    metadata,
    Column("voucher_id", Text, primary_key=True),
    # SHA-256 of a random code of 130 bits: too many to try, so it needs no key.
    Column("code_digest", LargeBinary, nullable=False, unique=True),
    Column("last4", Text, nullable=False),
    Column("issued_minor", BigInteger, nullable=False),
    Column("balance_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("balance_minor >= 0", name="balance_positive"),
    CheckConstraint("balance_minor <= issued_minor", name="balance_was_issued"),
    sqlite_with_rowid=False,
)

voucher_operation = Table(
    "vault_voucher_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("kind", Text),
    Column("parent_id", Text),
    Column("voucher_id", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    Column("outcome", Text, nullable=False),
    Column("failure", Text),
    # What later operations took of this one.
    Column("taken_minor", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    CheckConstraint("taken_minor >= 0 AND taken_minor <= amount_minor", name="taken_in_amount"),
    sqlite_with_rowid=False,
)

Index(
    "ix_vault_operation_hour",
    operation.c.allowance_id,
    operation.c.sent_at_ms,
    sqlite_where=operation.c.hour_minor.is_not(None),
    postgresql_where=operation.c.hour_minor.is_not(None),
)


def create_schema(path: Path) -> None:
    """Bring a SQLite file up to this version's tables, making it if it does not exist."""
    upgrade_sqlite(path, Path(__file__).parent / "migrations")
