"""What must hold of worlds: everything a player allowed is told once, and nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from tests.support.evidence import Evidence
from tests.support.promises import Violation

_TOLD = {
    "token.minted": "item.granted",
    "entitlement.granted": "item.granted",
    "token.returned": "item.revoked",
    "entitlement.revoked": "item.revoked",
}


def notices(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """The notices of a world are numbered without a gap, and are those of the facts since each consent.

    What the player was told, in its order, says which worlds had a consent at each fact. Consents that end
    by themselves are left out: nothing tells when they did.
    """
    promise = "what worlds are told"
    rows = evidence.rows("SELECT * FROM webhook_notice ORDER BY endpoint_id, seq")
    for feed in evidence.rows("SELECT * FROM webhook_feed"):
        numbers = [row["seq"] for row in rows if row["endpoint_id"] == feed["endpoint_id"]]
        if numbers != list(range(1, feed["seq"] + 1)):
            yield Violation(promise, feed["endpoint_id"], f"{numbers} of {feed['seq']}")
    players = {
        row["player_id"]: (row["customer_id"], row["world_id"])
        for row in evidence.rows("SELECT * FROM world_consent WHERE expires_at_ms IS NULL")
    }
    found = Counter(
        (*players[row["subject"]], row["type"])
        for row in rows
        # A token that is lost is told to worlds, and to its player as a leg that failed.
        if row["subject"] in players and json.loads(row["data"]).get("reason") != "lost"
    )
    expected: Counter[tuple[str, str, str]] = Counter()
    allowed: set[tuple[str, str]] = set()
    for event in evidence.rows("SELECT stream, type, body FROM event ORDER BY stream, seq"):
        if event["type"] in ("world.allowed", "world.revoked"):
            consent = (event["stream"], json.loads(event["body"])["world_id"])
            (allowed.add if event["type"] == "world.allowed" else allowed.discard)(consent)
        elif event["type"] in _TOLD:
            for customer_id, world_id in players.values():
                if (customer_id, world_id) in allowed and customer_id == event["stream"]:
                    expected[customer_id, world_id, _TOLD[event["type"]]] += 1
    for key in expected.keys() | found.keys():
        if key[2] in _TOLD.values() and expected[key] != found[key]:
            yield Violation(promise, key[1], f"{found[key]} times {key[2]}, not {expected[key]}")
