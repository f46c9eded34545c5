"""What was built of allowances beside the purchase itself, through the port: in process and over the API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.kernel.errors import ConflictError, NotFoundError
from tests.wallets.vault.shop import HOUR_MS, MERCHANT, ORDER, Shop, eur, refused
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    Approval,
    ApprovalId,
    ApprovalState,
    Initiation,
    Limit,
    MerchantReason,
    OperationStatus,
    SpentItem,
)

S = OperationStatus


async def test_v26_every_scope_and_limit_passes_the_port(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(
        await shop.method(),
        eur(2_000),
        order_id=None,
        reason=AllowanceReason.RECURRING,
        channel=frozenset({"ar", "metaverse"}),
        max_uses=10,
        world_id="wld_1",
        session_id="ses_1",
        device_key="thumbprint",
        category="hats",
        max_item=eur(900),
        max_per_hour=eur(1_000),
        guardian_id="gua_1",
        guardian_above=eur(500),
        not_before_ms=1,
    )
    granted = await vault.grant(terms)
    assert granted == await vault.allowance(terms.allowance_id)
    assert (granted.terms, granted.left) == (terms, eur(2_000))
    where = {
        "world_id": "wld_1",
        "session_id": "ses_1",
        "device_key": "thumbprint",
        "items": (SpentItem("hats", eur(800)),),
    }
    alone = await vault.authorize(shop.request(terms, eur(800), **where))
    assert refused(alone) == "allowance.guardian_approval_required"
    assert alone.limit == Limit("guardian_above", "EUR", 500, 0, 800)
    approval = Approval(
        shop.ids.new(ApprovalId),
        terms.allowance_id,
        "gua_1",
        MERCHANT,
        ORDER,
        eur(800),
        shop.clock.now_ms() + HOUR_MS,
    )
    assert await vault.approve(approval) is ApprovalState.APPROVED
    agreed = await vault.authorize(shop.request(terms, eur(800), **where))
    assert agreed.status is S.SUCCEEDED
    assert await vault.decline_approval(approval) is ApprovalState.USED
    over = await vault.authorize(shop.request(terms, eur(300), **where))
    assert over.limit == Limit("max_per_hour", "EUR", 1_000, 800, 300, shop.clock.now_ms() + HOUR_MS)
    assert await vault.operation(over.operation_id) == over
    with pytest.raises(ConflictError, match=r"allowance\.terms_conflict"):
        await vault.grant(replace(terms, max_uses=11))
    with pytest.raises(ConflictError, match=r"allowance\.approval_conflict"):
        await vault.approve(replace(approval, max_amount=eur(1)))
    with pytest.raises(NotFoundError, match=r"allowance\.unknown"):
        await vault.approve(replace(approval, approval_id=shop.ids.new(ApprovalId), guardian_id="gua_2"))
    assert await vault.allowance(shop.ids.new(AllowanceId)) is None


async def test_who_asks_and_why_passes_the_port(vault: EmbeddedVault, shop: Shop) -> None:
    terms = shop.terms(await shop.method(), eur(200))
    first = await vault.authorize(shop.request(terms, eur(100)))
    request = shop.request(
        terms,
        eur(100),
        initiation=Initiation.MERCHANT,
        merchant_reason=MerchantReason.NO_SHOW,
        network_transaction_id=first.network_transaction_id,
    )
    assert (await vault.authorize(request)).status is S.SUCCEEDED
