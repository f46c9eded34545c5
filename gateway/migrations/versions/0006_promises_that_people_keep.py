"""Terms of promises to pay in person say that people count the money."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # The terms are a JSON object that is never empty; what does not say so is not by hand.
    op.get_bind().execute(
        sa.text(
            "UPDATE payment_intent SET provider_terms = :member || substr(provider_terms, 2) "
            "WHERE provider_terms LIKE :in_cash"
        ),
        {"member": '{"by_hand":true,', "in_cash": '%"provider":"cash"%'},
    )
