"""Opening a vault's database and its keys, the same way for the vault itself and for its upkeep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.migrate import upgrade
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Store
from wallets.vault import tables
from wallets.vault.audit_anchor import FileAnchor
from wallets.vault.keys import KeyMaker, KeyPurpose
from wallets.vault.kms import Kms
from wallets.vault.kms_local import LocalKms

_MIGRATIONS = Path(__file__).parent / "migrations"
_FIRST_KEYS = {
    KeyPurpose.RECORDS: "card-1",
    KeyPurpose.FINGERPRINTS: "fingerprint-1",
    KeyPurpose.AUDIT: "audit-1",
}


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the keys are: files in a directory, or a key service of AWS's shape."""

    directory: Path
    """Of the key files; with a key service only of the audit trail's anchor."""
    region: str = ""
    """Set: the keys are in the key service of this region."""
    endpoint: str = ""
    """Empty: AWS itself."""
    first_keys: tuple[str, str, str] | None = None
    """Key ARNs for records, fingerprints and the audit trail of a new vault."""
    production: bool = False
    announces_anchors: bool = False
    """Whether the audit trail's anchors go to the log too; a vault of its own does so."""


@dataclass(frozen=True, slots=True)
class OpenKeys:
    kms: Kms
    maker: KeyMaker | None
    """None where the keys' custodians make them."""
    first: dict[KeyPurpose, str]
    """What a new vault begins with."""
    anchor: FileAnchor

    async def close(self) -> None:
        """Close what the keys are reached through."""
        close = getattr(self.kms, "close", None)
        if close is not None:
            await close()


def open_keys(place: KeyPlace) -> OpenKeys:
    """Return the keys' adapter. Raises KeyUseError for files in production, or missing credentials."""
    anchor = FileAnchor(place.directory / "audit.anchor", announces=place.announces_anchors)
    if not place.region:
        local = LocalKms(place.directory, production=place.production)
        return OpenKeys(local, local, dict(_FIRST_KEYS), anchor)
    from wallets.vault.kms_aws import open_aws_kms

    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    first = dict(zip(KeyPurpose, place.first_keys, strict=True)) if place.first_keys else {}
    return OpenKeys(open_aws_kms(place.region, place.endpoint or None), None, first, anchor)


def open_store(
    directory: Path,
    database_url: str,
    clock: Clock,
    ids: IdSource,
    *,
    precedence: Precedence | None = None,
    rehearse: bool = False,
    strict: bool = False,
) -> Store:
    """Bring the schema up to this version and open the database: ``vault.db``, or PostgreSQL by its URL."""
    if not database_url:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "vault.db"
        tables.create_schema(path)
        return SqliteStore(path, clock, ids, precedence=precedence, rehearse=rehearse, strict=strict)
    from gateway.kernel.store.postgres import PostgresStore

    core_url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    upgrade(core_url, _MIGRATIONS)
    return PostgresStore(database_url, None, ids, precedence=precedence, rehearse=rehearse, strict=strict)
