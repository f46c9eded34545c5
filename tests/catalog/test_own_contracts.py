"""Merchants' own contracts and gas limits in their files: what is taken, and what is refused at which line."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.catalog.assets import AssetStore
from gateway.catalog.importing import import_folder, import_product
from gateway.catalog.loading import load_snapshot
from gateway.catalog.model import Format
from gateway.catalog.problems import CatalogInvalidError
from gateway.catalog.reports import ImportReport
from gateway.commands.minting_import import look_for_contracts, take_minting
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import UnitOfWork
from tests.catalog.merchants import MERCHANT, PRODUCT, Folder
from wallets.minting.chain.port import ChainUnavailable
from wallets.minting.own_contracts import own_contracts
from wallets.minting.tables import gas_limit

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
CARDS = "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
MINTING = f"""\
  minting:
    gas_per_day: 5000000
    contracts:
      - name: armour
        chain_id: 31337
        address: "{ADDRESS}"
        standard: erc1155
        call: mint(address,uint256,uint256,bytes)
        arguments: [to, id, amount, data]
        data: "0x07"
        gas: 150000
      - name: cards
        chain_id: 31337
        address: "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
        standard: erc721
        call: safeMint(address)
        arguments: [to]
"""
WITH_MINTING = MERCHANT + MINTING
ON_ARMOUR = PRODUCT.replace("royalty_bps: 250", 'contract: armour\n        token_id: "77"')


def _line(text: str, fragment: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if fragment in line)


async def _problems(store: SqliteStore, assets: AssetStore, folder: Folder) -> list[str]:
    with pytest.raises(CatalogInvalidError) as refused:
        await import_folder(store, assets, folder.path, inventory=take_minting)
    return [str(found) for found in refused.value.problems]


class Chain:
    """Has code at these addresses; None: it does not answer."""

    def __init__(self, *addresses: str | None) -> None:
        self.addresses = addresses

    async def code(self, address: str) -> bytes:
        if None in self.addresses:
            raise ChainUnavailable("away")
        return b"\1" if address in self.addresses else b""


async def test_a_contract_that_is_not_on_the_chain_is_refused_at_its_line(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    folder.product(PRODUCT)
    examine = partial(look_for_contracts, chain=Chain(CARDS), chain_id=31337)
    with pytest.raises(CatalogInvalidError) as refused:
        await import_folder(store, assets, folder.path, inventory=take_minting, examine=examine)
    (problem,) = refused.value.problems
    assert problem.line == _line(WITH_MINTING, ADDRESS)
    assert str(problem).endswith(f"there is no contract at {ADDRESS} on chain 31337")
    assert await store.read(own_contracts) == []
    examine = partial(look_for_contracts, chain=Chain(ADDRESS, CARDS), chain_id=31337)
    report = await import_folder(store, assets, folder.path, inventory=take_minting, examine=examine)
    assert report.warnings == () and len(report.contracts) == 2


async def test_contracts_are_taken_with_a_warning_while_the_chain_does_not_answer(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    folder.product(PRODUCT)
    examine = partial(look_for_contracts, chain=Chain(None), chain_id=31337)
    report = await import_folder(store, assets, folder.path, inventory=take_minting, examine=examine)
    assert [warning.line for warning in report.warnings] == [
        _line(WITH_MINTING, ADDRESS),
        _line(WITH_MINTING, CARDS),
    ]
    assert "chain 31337 does not answer" in report.warnings[0].message
    assert len(await store.read(own_contracts)) == 2


async def test_an_edition_names_its_contract(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    folder.merchant(WITH_MINTING)
    folder.product(ON_ARMOUR)
    reports: list[ImportReport] = []

    def inventory(uow: UnitOfWork, report: ImportReport) -> None:
        take_minting(uow, report)
        reports.append(report)

    await import_folder(store, assets, folder.path, inventory=inventory)
    edition = reports[-1].editions[0]
    assert (edition.contract, edition.first_token_id) == ("armour", 77)
    armour, cards = await store.read(own_contracts)
    assert (armour.name, armour.address, armour.gas) == ("armour", ADDRESS, 150_000)
    assert armour.description.arguments == ("to", "id", "amount", "data")
    assert armour.description.data == b"\x07"
    assert cards.description.is_single
    (limit,) = await store.read(lambda reader: list(reader.core(gas_limit.select())))
    assert limit.per_day == 5_000_000
    snapshot = await store.read(load_snapshot)
    merchant = snapshot.merchant_by_slug("shop")
    part = snapshot.offer(merchant.merchant_id, "BOX-1", Format.DIGITAL).digital
    assert part is not None
    assert (part.contract, part.single) == ("armour", False)
    assert set(merchant.contracts) == {"armour", "cards"}


async def test_an_import_without_a_limit_takes_it_away(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    await import_folder(store, assets, folder.path, inventory=take_minting)
    folder.merchant(MERCHANT)
    await import_folder(store, assets, folder.path, inventory=take_minting)
    assert await store.read(lambda reader: list(reader.core(gas_limit.select()))) == []
    # What tokens are on stays known.
    assert len(await store.read(own_contracts)) == 2


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (ADDRESS, ADDRESS.lower().replace("0x", "0x"), "does not have the checksum of EIP-55"),
        (ADDRESS, "0x12", "is no address of 0x and 40 hex digits"),
        (
            "call: mint(address,uint256,uint256,bytes)",
            "call: mint(address to)",
            "is no type that can be given",
        ),
        ("call: mint(address,uint256,uint256,bytes)", "call: mint", "is no signature such as"),
        ("call: mint(address,uint256,uint256,bytes)", "call: mint(address,uint)", "write uint256 for uint"),
        ("call: mint(address,uint256,uint256,bytes)", "call: mint(address,uint8)", "there are 4 for the 2"),
        ("[to, id, amount, data]", "[to, id, to, data]", "to does not fit the parameter's type uint256"),
        ("[to, id, amount, data]", "[amount, id, amount, data]", "amount does not fit"),
        ("[to, id, amount, data]", "[to, id, many, data]", "'many' is no value of type uint256"),
        ("[to, id, amount, data]", "[to, id, -1, data]", "'-1' is no value of type uint256"),
        ("[to, id, amount, data]", "[to, 1, 1, data]", "a mint of ERC-1155 names an id or an amount"),
        (
            "[to, id, amount, data]",
            f'["{ADDRESS}", id, amount, data]',
            "exactly one of them is to, the recipient",
        ),
        ('data: "0x07"', 'data: "0x7"', "is not 0x and the hex digits"),
        ("standard: erc1155", "standard: erc20", "input should be 'erc1155' or 'erc721'"),
        ("gas: 150000", "gas: 9000000", "less than or equal to 2000000"),
        ("name: cards", "name: armour", "armour is given twice"),
    ],
)
async def test_a_wrong_description_is_refused_with_its_line(
    store: SqliteStore, assets: AssetStore, folder: Folder, was: str, now: str, message: str
) -> None:
    text = WITH_MINTING.replace(was, now, 1)
    assert text != WITH_MINTING
    folder.merchant(text)
    found = await _problems(store, assets, folder)
    wrong = now if now.startswith(("name", "call", "data", "gas", "standard")) else ""
    line = _line(text, wrong) if wrong and message.startswith(("is no", "write")) else None
    (one,) = [problem for problem in found if message in problem]
    assert one.startswith("merchant.yaml:" if line is None else f"merchant.yaml:{line}:")


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("contract: armour", "contract: armor", "armor is none of the merchant's contracts"),
        ("delivery: token", "delivery: entitlement", "is for what is delivered as a token"),
        ("contract: armour", "contract: cards", "is chosen by the contract"),
        ("contract: armour\n", "royalty_bps: 250\n        contract: armour\n", "is said by your contract"),
        ("contract: armour\n", "\n", "name it too"),
        ('"77"', '"7x"', "does not match"),
        ('"77"', f'"{2**256 - 1}"', "is too large for an id"),
    ],
)
async def test_what_a_product_says_of_a_contract_is_checked(
    store: SqliteStore, assets: AssetStore, folder: Folder, was: str, now: str, message: str
) -> None:
    folder.merchant(WITH_MINTING)
    text = ON_ARMOUR.replace(was, now, 1)
    assert text != ON_ARMOUR
    folder.product(text)
    found = await _problems(store, assets, folder)
    assert any(message in problem and problem.startswith("products/box.yaml:") for problem in found), found


async def test_ids_of_erc721_and_serials_need_numbers(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    text = WITH_MINTING.replace("standard: erc1155", "standard: erc721")
    folder.merchant(text)
    folder.product(ON_ARMOUR)
    assert (
        "gives each id once, so the edition has to be numbered" in (await _problems(store, assets, folder))[0]
    )
    folder.merchant(WITH_MINTING.replace("[to, id, amount, data]", "[to, id, serial, data]"))
    assert "takes a serial, so the edition has to be numbered" in (await _problems(store, assets, folder))[0]
    folder.product(ON_ARMOUR.replace("kind: capped", "kind: numbered"))
    await import_folder(store, assets, folder.path, inventory=take_minting)


async def test_an_edition_keeps_its_contract_and_id(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    folder.product(ON_ARMOUR)
    await import_folder(store, assets, folder.path, inventory=take_minting)
    folder.product(ON_ARMOUR.replace('"77"', '"78"'))
    assert "was 77 and cannot change" in (await _problems(store, assets, folder))[0]
    folder.product(PRODUCT)
    assert any("was armour and cannot change" in one for one in await _problems(store, assets, folder))


async def test_a_contract_keeps_its_address_and_says_so_at_its_line(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    await import_folder(store, assets, folder.path, inventory=take_minting)
    text = WITH_MINTING.replace(ADDRESS, "0xde709f2102306220921060314715629080e2fb77")
    folder.merchant(text)
    (problem,) = await _problems(store, assets, folder)
    assert problem.startswith(
        f"merchant.yaml:{_line(text, 'e2fb77')}: merchant.minting.contracts[0].address:"
    )
    assert "cannot change" in problem


async def test_a_product_sent_alone_knows_the_merchants_contracts(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(WITH_MINTING)
    folder.product(ON_ARMOUR)
    await import_folder(store, assets, folder.path, inventory=take_minting)
    merchant = (await store.read(load_snapshot)).merchant_by_slug("shop")
    document = {
        "handle": "helmet",
        "title": {"en": "A helmet"},
        "tax": {"digital": "digital_standard"},
        "variants": [
            {
                "sku": "HELMET",
                "offers": {"digital": {"prices": {"EUR": "5.00"}}},
                "digital": {"delivery": "token", "contract": "cards"},
            }
        ],
    }
    report = await import_product(store, merchant.merchant_id, document)
    assert report.editions[0].contract == "cards"
    document["variants"][0]["digital"]["contract"] = "swords"  # type: ignore[index]  # a plain document
    with pytest.raises(CatalogInvalidError, match="none of the merchant's contracts"):
        await import_product(store, merchant.merchant_id, document)


async def test_long_numbers_of_a_call_are_kept_exactly(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    most = 2**256 - 1
    folder.merchant(WITH_MINTING.replace("[to, id, amount, data]", f"[to, id, {most}, data]"))
    await import_folder(store, assets, folder.path, inventory=take_minting)
    armour, _ = await store.read(own_contracts)
    types, values = armour.description.values({"to": ADDRESS, "id": 1, "data": b""})  # type: ignore[dict-item]  # equal text
    assert (types[2], values[2]) == ("uint256", most)
