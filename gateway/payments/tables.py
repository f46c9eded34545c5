"""Tables of payments, and the gateway's view of the methods that the vault keeps."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

payment_method = Table(
    "payment_method",
    metadata,
    Column("payment_method_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("expiry_month", Integer, nullable=False),
    Column("expiry_year", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_payment_method_customer", "customer_id"),
)

payment_intent = Table(
    "payment_intent",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, unique=True),
    Column("merchant_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("authorized_minor", BigInteger, nullable=False),
    Column("captured_minor", BigInteger, nullable=False),
    Column("voided_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("authorization_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    # The authorization that is to take the place of the present one, while it is under way.
    Column("reauthorization_id", Text),
    # What the provider of the authorization can do, where it is not everything; JSON, see `provider_terms`.
    Column("provider_terms", Text),
    # Refunds and payouts under way: part of what was captured that nobody else may give back.
    Column("refunding_minor", BigInteger, nullable=False, server_default="0"),
    # The money rules of an intent, held by the database whatever the code does.
    CheckConstraint("captured_minor + voided_minor <= authorized_minor", name="captured_within_authorized"),
    CheckConstraint("refunded_minor <= captured_minor", name="refunded_within_captured"),
    # On databases made before 0.2 a trigger holds this one: see the migration.
    CheckConstraint(
        "refunding_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor",
        name="refunding_within_captured",
    ),
    CheckConstraint("authorized_minor <= amount_minor", name="authorized_within_amount"),
    sqlite_with_rowid=False,
)

payment_attempt = Table(
    "payment_attempt",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("intent_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("payment_method_id", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("decline", Text),
    # The exemption from strong customer authentication that was asked for.
    Column("exemption", Text),
    # Who bears fraud, once it is authorized.
    Column("liability", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    # The standing or delegated allowance that it spends; JSON, see `spending`. Null: one for its order alone.
    Column("spending", Text),
    # Who pays to the vault, where that is the payer of a link and not the order's customer.
    Column("payer", Text),
    Index("ix_payment_attempt_order", "order_id"),
    Index(
        "ix_payment_attempt_exempted",
        "payment_method_id",
        "created_at_ms",
        sqlite_where=text("exemption IS NOT NULL"),
        postgresql_where=text("exemption IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

reconciliation = Table(
    "reconciliation",
    metadata,
    # How far the other side's list of changes has been compared with ours.
    Column("name", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

payment_operation = Table(
    "payment_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("attempt_id", Text),
    Column("leg_id", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    # The authorization of a capture or void, the capture of a refund, and of an authorization the one that
    # it replaces.
    Column("target_operation_id", Text),
    Column("provider_reference", Text),
    Column("detail", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    # Of an authorization: when the issuer lets it go, and its name at the network.
    Column("capture_before_ms", BigInteger),
    Column("network_transaction_id", Text),
    # Why it was begun: the refund request it pays, the link it was paid through.
    Column("refund_id", Text),
    Column("pay_link_id", Text),
    Index("ix_payment_operation_order", "order_id"),
    sqlite_with_rowid=False,
)

refund_request = Table(
    "refund_request",
    metadata,
    Column("refund_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Where the money goes: see `RefundWay`.
    Column("way", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("done_minor", BigInteger, nullable=False),
    Column("leg_id", Text),
    Column("payment_method_id", Text),
    Column("reason", Text, nullable=False),
    # Staff of the merchant. Who decides is never who asked.
    Column("requested_by", Text, nullable=False),
    Column("decided_by", Text),
    # The strong customer authentication with which the customer named the method.
    Column("authentication_id", Text),
    Column("failure", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("decided_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    # Until when it waits for its second person; null once it is decided.
    Column("expires_at_ms", BigInteger),
    CheckConstraint("amount_minor > 0 AND done_minor <= amount_minor", name="amounts"),
    CheckConstraint(
        "way = 'original' OR state NOT IN ('approved', 'done', 'failed') "
        "OR (decided_by IS NOT NULL AND decided_by <> requested_by)",
        name="two_people",
    ),
    Index("ix_refund_request_order", "order_id"),
    Index("ix_refund_request_merchant", "merchant_id", "refund_id"),
    Index(
        "ix_refund_request_waiting",
        "expires_at_ms",
        sqlite_where=text("expires_at_ms IS NOT NULL"),
        postgresql_where=text("expires_at_ms IS NOT NULL"),
    ),
    Index(
        "ix_refund_request_payouts",
        "customer_id",
        "decided_at_ms",
        sqlite_where=text("way <> 'original'"),
        postgresql_where=text("way <> 'original'"),
    ),
    sqlite_with_rowid=False,
)

cash_collection = Table(
    "cash_collection",
    metadata,
    # The capture or refund that was counted; written before the vault is told.
    Column("operation_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("drawer", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # Null: nothing was collected.
    Column("tendered_minor", BigInteger),
    # Whether goods that were refused are back on their shelf.
    Column("restocked", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_cash_collection_order", "order_id"),
    sqlite_with_rowid=False,
)

pay_link = Table(
    "pay_link",
    metadata,
    Column("pay_link_id", Text, primary_key=True),
    # Of the token in the address; the token itself is stored nowhere.
    Column("token_digest", Text, nullable=False, unique=True),
    Column("order_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    # The authorization that paid it.
    Column("operation_id", Text),
    # How often a card was entered, or a page opened to enter one.
    Column("card_entries", Integer, nullable=False, server_default="0"),
    Index("ix_pay_link_order", "order_id"),
    Index("ix_pay_link_merchant", "merchant_id", "pay_link_id"),
    Index(
        "ix_pay_link_open",
        "expires_at_ms",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    # One order is paid once, through however many links.
    Index(
        "ux_pay_link_paid",
        "order_id",
        unique=True,
        sqlite_where=text("state = 'paid'"),
        postgresql_where=text("state = 'paid'"),
    ),
    sqlite_with_rowid=False,
)

payment_authentication = Table(
    "payment_authentication",
    metadata,
    Column("authentication_id", Text, primary_key=True),
    # Names the hosted page; unguessable.
    Column("action_id", Text, nullable=False, unique=True),
    Column("order_id", Text, nullable=False),
    Column("attempt_id", Text, nullable=False),
    # The authorization that waits for it.
    Column("operation_id", Text, nullable=False, unique=True),
    Column("customer_id", Text, nullable=False),
    Column("payment_method_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("method", Text),
    # What it is bound to (dynamic linking): order, amount, currency, payee and nonce give the link.
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payee", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("link", Text, nullable=False),
    # The issuer's challenge at the provider: a path of ours or an absolute address.
    Column("provider_url", Text, nullable=False),
    Column("user_code_digest", Text),
    # Whether a passkey may answer it: not again after the issuer wanted its own challenge all the same.
    Column("passkey_allowed", Integer, nullable=False),
    # Challenge of a passkey that is being added on the strength of this authentication; single use.
    Column("enrol_challenge", Text),
    # Digest of what the one browser holds that was sent to the issuer from our page; once it has come back
    # from there with the issuer's proof, and it may add a passkey, "back:" stands before it.
    Column("sent_browser", Text),
    Column("liability", Text),
    Column("reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("opened_at_ms", BigInteger),
    Column("decided_at_ms", BigInteger),
    Index("ix_payment_authentication_order", "order_id"),
    Index("ix_payment_authentication_method", "payment_method_id", "decided_at_ms"),
    Index("ix_payment_authentication_code", "user_code_digest"),
    sqlite_with_rowid=False,
)

guardian_request = Table(
    "guardian_request",
    metadata,
    # The approval's id at the vault.
    Column("approval_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("guardian_id", Text, nullable=False),
    Column("allowance_id", Text, nullable=False),
    # The authorization that was refused without the approval.
    Column("operation_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    # What the customer may spend without asking.
    Column("above_minor", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # Until when the order's goods are kept for it, with some time for another way to pay.
    Column("kept_until_ms", BigInteger, nullable=False),
    Column("decided_at_ms", BigInteger),
    # The guardian's device.
    Column("decided_on", Text),
    Index("ix_guardian_request_order", "order_id"),
    # One open question per order.
    Index(
        "ux_guardian_request_open",
        "order_id",
        unique=True,
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_guardian_request_waiting",
        "guardian_id",
        "approval_id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    CheckConstraint("amount_minor > 0 AND above_minor >= 0", name="amounts"),
    sqlite_with_rowid=False,
)
