"""The calls of the vault's API: one for each method of its port, made from the port itself.

``POST /v1/<method>`` with the method's parameters as the members of a JSON object; the answer is the JSON of
what the method returns. `tokenize` is not among them: a card in the clear does not travel between processes.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, get_type_hints

from wallets.vault.credentials import Role
from wallets.vault.http.wire import Codec, WireError, codec_of
from wallets.vault.port import Vault

NOT_SERVED = frozenset({"tokenize"})

_GATEWAY = frozenset({Role.GATEWAY})
ROLES: dict[str, frozenset[Role]] = {
    "methods": _GATEWAY,
    "open_card_session": _GATEWAY,
    "card_key": _GATEWAY,
    "store_sealed_card": _GATEWAY,
    "methods_since": _GATEWAY,
    "authorize": _GATEWAY,
    "capture": _GATEWAY,
    "void": _GATEWAY,
    "refund": _GATEWAY,
    "operation": _GATEWAY,
    "abandon": _GATEWAY,
    "note_settled": _GATEWAY,
    "operations_since": _GATEWAY,
    "grant": _GATEWAY,
    "allowance": _GATEWAY,
    "approve": _GATEWAY,
    "decline_approval": _GATEWAY,
    "remove_method": _GATEWAY,
    "reauthorize": _GATEWAY,
    "payout": _GATEWAY,
    "store_method": _GATEWAY,
    "increment": _GATEWAY,
    "confirm_cash": _GATEWAY,
    "decline_cash": _GATEWAY,
    "revoke": frozenset({Role.GATEWAY, Role.OPERATOR}),
}
"""Who may make which call. A method of the port that is not named here is not served."""


class Call(NamedTuple):
    """How a method's parameters and its result are written, and who may call it."""

    name: str
    parameters: dict[str, Codec[Any]]
    optional: frozenset[str]
    result: Codec[Any]
    roles: frozenset[Role]

    def encode_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object of a call."""
        return {name: self.parameters[name].encode(value) for name, value in arguments.items()}

    def decode_arguments(self, document: Any) -> dict[str, Any]:
        """Return what to call the method with. Raises WireError."""
        if type(document) is not dict:
            raise WireError("$", "Must be an object.")
        arguments = {}
        for name, value in document.items():
            codec = self.parameters.get(name)
            if codec is None:
                raise WireError("$", "An unknown member is there.")
            arguments[name] = codec.decode(value, f"$.{name}")
        if len(arguments) < len(self.parameters):
            for name in self.parameters:
                if name not in arguments and name not in self.optional:
                    raise WireError(f"$.{name}", "Is missing.")
        return arguments


def _call(name: str) -> Call:
    method = getattr(Vault, name)
    hints = get_type_hints(method)
    declared = [one for one in inspect.signature(method).parameters.values() if one.name != "self"]
    return Call(
        name,
        {one.name: codec_of(hints[one.name]) for one in declared},
        frozenset(one.name for one in declared if one.default is not inspect.Parameter.empty),
        codec_of(hints["return"]),
        ROLES[name],
    )


CALLS: dict[str, Call] = {name: _call(name) for name in ROLES}
