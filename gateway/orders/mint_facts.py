"""Facts from the mint lanes: minted, final, reopened, skipped, returned. Many per unit."""

from __future__ import annotations

from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import books, ownership, process, undoing
from gateway.orders.model import LegState
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, known_purchase
from wallets.minting.model import MintOutcome, OutcomeKind


class MintFacts:
    """Records what became of mints and returns."""

    def __init__(self, rules: ProcessRules) -> None:
        self._rules = rules

    def record(self, uow: UnitOfWork, outcomes: list[MintOutcome]) -> None:
        """Record outcomes inside the lane's settling unit."""
        for outcome in outcomes:
            purchase = known_purchase(uow, outcome.order_id)
            leg = purchase.leg(outcome.leg_id)
            match outcome.kind:
                case OutcomeKind.MINTED:
                    self._minted(purchase, leg, outcome)
                    if outcome.final:
                        self._final(purchase, leg)
                case OutcomeKind.FINAL:
                    self._final(purchase, leg)
                case OutcomeKind.REOPENED:
                    purchase.tell("token.reopened", leg_id=leg.leg_id)
                case OutcomeKind.SKIPPED:
                    self._skipped(purchase, leg, outcome)
                case OutcomeKind.RETURNED:
                    self._returned(purchase, leg, outcome)
                case OutcomeKind.RETURN_FAILED:
                    purchase.tell("payment.stuck", task="token.return")

    def claimed(self, uow: UnitOfWork, leg_ids: list[str]) -> None:
        """Claiming is the point of no return; the mint's own row says so and `cancel_mint` asks it."""

    def _minted(self, purchase: Purchase, leg: Leg, outcome: MintOutcome) -> None:
        token = {
            "chain_id": outcome.chain_id,
            "contract": outcome.contract,
            "token_id": str(outcome.token_id),
            "serial": outcome.serial,
            "transaction_hash": outcome.tx_hash,
            "block_number": outcome.block_number,
        }
        purchase.set_token(leg, token)
        # After a reorganization the leg is captured already and only its place on the chain is new.
        if leg.state in (LegState.STARTED, LegState.PAID):
            books.post_minted(purchase, leg)
            purchase.tell("token.minted", leg_id=leg.leg_id, sku=leg.sku, **token)
            ownership.granted(purchase, leg, token)
            process.minted(purchase, leg, self._rules)

    def _skipped(self, purchase: Purchase, leg: Leg, outcome: MintOutcome) -> None:
        if leg.has_token:
            # Its first block was lost in a reorganization and it cannot be minted again.
            ownership.revoked(purchase, leg, "lost", chain_id=outcome.chain_id)
            process.token_lost(purchase, leg, self._rules)
        else:
            process.not_minted(purchase, leg, outcome.skip_reason, self._rules)

    def _final(self, purchase: Purchase, leg: Leg) -> None:
        if leg.state is LegState.RETURNING:
            undoing.ask_for_token(purchase, leg)

    def _returned(self, purchase: Purchase, leg: Leg, outcome: MintOutcome) -> None:
        if leg.state is not LegState.RETURNING:
            return
        books.post_token_returned(purchase, leg)
        purchase.tell("token.returned", leg_id=leg.leg_id, transaction_hash=outcome.tx_hash or "")
        ownership.revoked(purchase, leg, "returned", chain_id=outcome.chain_id)
        process.pay_back(purchase, leg, self._rules)
