"""Passkeys of customers: registered once, asserted for one payment at a time (WebAuthn Level 3).

A passkey is discoverable and verifies its user (PIN or biometric), so that an assertion is two factors in
one gesture. The challenge of an assertion is the dynamic link of a payment and comes from the caller; what
is kept here is the public key, the signature counter and the backup flags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, select, update

from gateway.identity.tables import passkey
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, ErrorClass, NotFoundError, VitrineError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork

MOST_PASSKEYS = 20
"""Of one customer."""
CLONE_SUSPECTED = "clone_suspected"
_TIMEOUT_MS = 120_000
_IS_CREDENTIAL = re.compile(r"[A-Za-z0-9_-]{1,1364}")
"""At most 1023 bytes (WebAuthn Level 3, 4) in base64url."""

_INSERT = insert_into(passkey)
_OF_CUSTOMER = Statement(
    select(passkey)
    .where(passkey.c.customer_id == bindparam("customer_id"), passkey.c.revoked_at_ms.is_(None))
    .order_by(passkey.c.passkey_id)
    .limit(MOST_PASSKEYS)
)
_BY_CREDENTIAL = Statement(select(passkey).where(passkey.c.credential_id == bindparam("credential_id")))
_USED = Statement(
    update(passkey)
    .where(
        passkey.c.passkey_id == bindparam("its_id"),
        # The counter that was checked is still the stored one: of two assertions at once one wins.
        passkey.c.sign_count == bindparam("old_count"),
        passkey.c.revoked_at_ms.is_(None),
    )
    .values(
        sign_count=bindparam("new_count"),
        backed_up=bindparam("now_backed_up"),
        last_used_at_ms=bindparam("now_ms"),
    )
)
_REVOKE = Statement(
    update(passkey)
    .where(
        passkey.c.passkey_id == bindparam("its_id"),
        passkey.c.customer_id == bindparam("its_customer_id"),
        passkey.c.revoked_at_ms.is_(None),
    )
    .values(revoked_at_ms=bindparam("now_ms"), revoked_because=bindparam("because"))
)


class PasskeyId(Id):
    prefix = "pky"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom passkeys are made. ``rp_id`` is a domain; the origins are where ceremonies may happen."""

    rp_id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A checked registration, ready to be stored."""

    credential_id: str
    public_key: str
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    transports: tuple[str, ...]
    aaguid: str


@dataclass(frozen=True, slots=True)
class Assertion:
    """A checked assertion."""

    passkey_id: str
    old_count: int
    new_count: int
    backed_up: bool
    clone_suspected: bool
    """The counter did not grow: two authenticators may hold the same key. The assertion does not count."""


def relying_party(base_url: str, name: str, origins: Sequence[str] = ()) -> RelyingParty | None:
    """Return the relying party of a public address, or None where browsers allow no passkeys.

    They need a domain (no bare IP address) and https; ``localhost`` may do without. ``origins`` adds those of
    native applications (``android:apk-key-hash:...``).
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return None
    local = host == "localhost" or host.endswith(".localhost")
    if not host or (parts.scheme != "https" and not local):
        return None
    return RelyingParty(host, name, (f"{parts.scheme}://{parts.netloc}", *origins))


def registration_options(
    party: RelyingParty, customer_id: str, user_name: str, challenge: bytes, known: Sequence[Any]
) -> dict[str, Any]:
    """Return what `navigator.credentials.create` is given, as WebAuthn's JSON. ``known`` are passkey rows."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import (
        AttestationConveyancePreference,
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.rp_id,
        rp_name=party.name,
        user_id=customer_id.encode(),
        user_name=user_name,
        user_display_name=user_name,
        challenge=challenge,
        timeout=_TIMEOUT_MS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(known),
    )
    return _document(options_to_json(options))


def assertion_options(party: RelyingParty, challenge: bytes, known: Sequence[Any]) -> dict[str, Any]:
    """Return what `navigator.credentials.get` is given, as WebAuthn's JSON."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=party.rp_id,
        challenge=challenge,
        timeout=_TIMEOUT_MS,
        allow_credentials=_descriptors(known),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return _document(options_to_json(options))


def check_registration(party: RelyingParty, credential: Mapping[str, Any], challenge: bytes) -> NewPasskey:
    """Return the new passkey. Raises VitrineError ``passkey.refused``."""
    from webauthn import verify_registration_response
    from webauthn.helpers import bytes_to_base64url
    from webauthn.helpers.exceptions import WebAuthnException
    from webauthn.helpers.structs import CredentialDeviceType

    _check_same_origin(credential)
    try:
        found = verify_registration_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=list(party.origins),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused() from error
    response = credential.get("response")
    named = response.get("transports") if isinstance(response, Mapping) else None
    transports = named if isinstance(named, list) else []
    return NewPasskey(
        bytes_to_base64url(found.credential_id),
        bytes_to_base64url(found.credential_public_key),
        found.sign_count,
        found.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        found.credential_backed_up,
        tuple(str(one)[:16] for one in transports[:8]),
        found.aaguid,
    )


def check_assertion(
    party: RelyingParty, row: Any, credential: Mapping[str, Any], challenge: bytes
) -> Assertion:
    """Check an assertion by the passkey in ``row``. Raises VitrineError ``passkey.refused``.

    Refused are another challenge (so another amount, payee or payment), origin or relying party, a missing
    user verification and a bad signature.
    """
    from webauthn import verify_authentication_response
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.exceptions import WebAuthnException

    _check_same_origin(credential)
    _check_user_handle(row, credential)
    try:
        found = verify_authentication_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=list(party.origins),
            credential_public_key=base64url_to_bytes(row.public_key),
            # The counter is judged below: a clone must be told apart from a bad signature.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused() from error
    counted = found.new_sign_count or row.sign_count
    return Assertion(
        row.passkey_id,
        row.sign_count,
        found.new_sign_count,
        found.credential_backed_up,
        clone_suspected=bool(counted) and found.new_sign_count <= row.sign_count,
    )


def require_room(reader: Reader, customer_id: str, new: NewPasskey) -> None:
    """Raise ConflictError ``passkey.too_many``, or VitrineError ``passkey.refused`` for one that is known."""
    if len(passkeys_of(reader, customer_id)) >= MOST_PASSKEYS:
        raise ConflictError("passkey.too_many", "Remove a passkey first.", data={"limit": MOST_PASSKEYS})
    if reader.row(_BY_CREDENTIAL, {"credential_id": new.credential_id}) is not None:
        raise _refused()


def add_passkey(uow: UnitOfWork, customer_id: str, new: NewPasskey, name: str) -> str:
    """Store a passkey that `require_room` has let in, and return its id."""
    passkey_id = uow.new_id(PasskeyId)
    uow.run(
        _INSERT,
        {
            "passkey_id": passkey_id,
            "credential_id": new.credential_id,
            "customer_id": customer_id,
            "public_key": new.public_key,
            "sign_count": new.sign_count,
            "backup_eligible": int(new.backup_eligible),
            "backed_up": int(new.backed_up),
            "transports": encode(list(new.transports)),
            "aaguid": new.aaguid,
            "name": name,
            "created_at_ms": uow.now_ms,
            "last_used_at_ms": None,
            "revoked_at_ms": None,
            "revoked_because": None,
        },
    )
    return passkey_id


def passkeys_of(reader: Reader, customer_id: str) -> list[Any]:
    """Return the customer's passkeys, oldest first."""
    return reader.rows(_OF_CUSTOMER, {"customer_id": customer_id})


def asserting_passkey(reader: Reader, customer_id: str, credential: Mapping[str, Any]) -> Any:
    """Return the passkey an assertion is by. Raises VitrineError ``passkey.refused`` for any other's."""
    named = credential.get("id")
    # Any text of JSON may be here, also such that no database takes.
    is_one = isinstance(named, str) and _IS_CREDENTIAL.fullmatch(named)
    row = reader.row(_BY_CREDENTIAL, {"credential_id": named}) if is_one else None
    if row is None or row.customer_id != customer_id or row.revoked_at_ms is not None:
        raise _refused()
    return row


def count_assertion(uow: UnitOfWork, assertion: Assertion) -> bool:
    """Store the new counter by compare-and-set; False when another assertion was faster."""
    return (
        uow.run(
            _USED,
            {
                "its_id": assertion.passkey_id,
                "old_count": assertion.old_count,
                "new_count": assertion.new_count,
                "now_backed_up": int(assertion.backed_up),
                "now_ms": uow.now_ms,
            },
        )
        == 1
    )


def revoke_passkey(uow: UnitOfWork, customer_id: str, passkey_id: str, because: str) -> None:
    """End a passkey. Raises NotFoundError ``passkey.not_found``."""
    values = {
        "its_id": passkey_id,
        "its_customer_id": customer_id,
        "because": because,
        "now_ms": uow.now_ms,
    }
    if not uow.run(_REVOKE, values):
        raise NotFoundError("passkey.not_found", "There is no such passkey.")


def _descriptors(rows: Sequence[Any]) -> list[Any]:
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    known = {one.value for one in AuthenticatorTransport}
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(row.credential_id),
            transports=[AuthenticatorTransport(one) for one in decode(row.transports) if one in known],
        )
        for row in rows
    ]


def _check_same_origin(credential: Mapping[str, Any]) -> None:
    """Refuse a ceremony inside another site's frame: the customer saw somebody else's page around it."""
    from webauthn.helpers import base64url_to_bytes

    try:
        client_data = json.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        framed = client_data.get("crossOrigin", False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused() from error
    if framed:
        raise _refused()


def _check_user_handle(row: Any, credential: Mapping[str, Any]) -> None:
    from webauthn.helpers import base64url_to_bytes

    handle = credential["response"].get("userHandle")
    try:
        named = handle is None or base64url_to_bytes(handle) == row.customer_id.encode()
    except (ValueError, TypeError) as error:
        raise _refused() from error
    if not named:
        raise _refused()


def _document(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document


def _refused() -> VitrineError:
    """One answer for everything that is wrong with a ceremony: the reason would only help who attacks."""
    return VitrineError(
        "passkey.refused",
        "The passkey was not accepted.",
        param="$.body.credential",
        error_class=ErrorClass.SCA,
    )
