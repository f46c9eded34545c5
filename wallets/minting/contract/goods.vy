# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# SPDX-License-Identifier: Apache-2.0
"""
@title Vitrine Goods
@license Apache-2.0
@notice Digital goods as ERC-1155 tokens, minted once per purchase number.
@dev A purchase number is any 256-bit number. Used numbers are bits of shared words, so numbers from a sequence
     cost almost nothing and a number can never mint twice, whoever repeats the transaction. What cannot be minted is
     skipped with a PurchaseSkipped event and never fails its neighbours.

     Token ids below 2**191 are editions. A numbered copy of an edition is the token
     (1 << 255) | (edition << 64) | serial; it counts towards its edition's cap and exists once.

     There is no proxy and no way to change this code. Vyper takes NatSpec on functions only, so what an event or a
     public variable means stands in the comment before it.
@custom:standard ERC-1155 with its Metadata URI extension, ERC-165, ERC-2981, EIP-712
"""

# What a recipient with code must answer (ERC-1155, "ERC-1155 Token Receiver").
interface IERC1155Receiver:
    def onERC1155Received(
        _operator: address, _from: address, _id: uint256, _value: uint256, _data: Bytes[1024]
    ) -> bytes4: nonpayable
    def onERC1155BatchReceived(
        _operator: address,
        _from: address,
        _ids: DynArray[uint256, 64],
        _values: DynArray[uint256, 64],
        _data: Bytes[1024],
    ) -> bytes4: nonpayable


# Tokens moved, or came into being if `_from` is the zero address (ERC-1155).
event TransferSingle:
    _operator: indexed(address)
    _from: indexed(address)
    _to: indexed(address)
    _id: uint256
    _value: uint256


# Tokens of several ids moved at once (ERC-1155).
event TransferBatch:
    _operator: indexed(address)
    _from: indexed(address)
    _to: indexed(address)
    _ids: DynArray[uint256, 64]
    _values: DynArray[uint256, 64]


# An owner allowed an operator to move all its tokens here, or took that back (ERC-1155).
event ApprovalForAll:
    _owner: indexed(address)
    _operator: indexed(address)
    _approved: bool


# The metadata address of an edition is now this (ERC-1155). A new base URI has no event.
event URI:
    _value: String[256]
    _id: indexed(uint256)


# An edition exists from now on, with this cap for ever.
event Defined:
    id: indexed(uint256)
    max_supply: uint256


# An edition in `define_many` existed already; nothing of it changed.
event DefinitionSkipped:
    id: indexed(uint256)


# A purchase number is used up and its tokens are its recipient's.
event PurchaseMinted:
    purchase_id: indexed(uint256)


# A purchase was left out; the reasons are listed below.
event PurchaseSkipped:
    purchase_id: indexed(uint256)
    reason: uint256


# The tokens of a purchase went from this holder to the treasury, with the holder's signature.
event PurchaseReturned:
    purchase_id: indexed(uint256)
    holder: indexed(address)


# An account may mint from now on, or may not any more.
event MinterSet:
    account: indexed(address)
    enabled: bool


# Minting, returns and transfers stopped, or go on.
event PausedSet:
    paused: bool


# Returned tokens go here from now on; zero stands for the owner of the day.
event TreasurySet:
    treasury: indexed(address)


# What ERC-2981 answers from now on; a zero receiver stands for the owner of the day.
event RoyaltySet:
    receiver: indexed(address)
    basis_points: uint256


# The owner offered the ownership, or withdrew the offer if the candidate is zero.
event OwnershipOffered:
    owner: indexed(address)
    candidate: indexed(address)


# The ownership changed (the event of ERC-173). Who may mint did not change with it.
event OwnershipTransferred:
    previous_owner: indexed(address)
    new_owner: indexed(address)


# Why a purchase was skipped.
ALREADY_MINTED: constant(uint256) = 1
SOLD_OUT: constant(uint256) = 2
RECEIVER_REFUSED: constant(uint256) = 3
ALREADY_RETURNED: constant(uint256) = 4
NOT_MINTED: constant(uint256) = 5
EXPIRED: constant(uint256) = 6
BAD_SIGNATURE: constant(uint256) = 7
NOT_HELD: constant(uint256) = 8

MAX_BATCH: constant(uint256) = 256
MAX_TRANSFER_BATCH: constant(uint256) = 64
UINT128_MAX: constant(uint256) = 2**128 - 1
NUMBERED: constant(uint256) = 1 << 255
SERIAL_MASK: constant(uint256) = 2**64 - 1
EDITION_LIMIT: constant(uint256) = 2**191
# No word of used numbers and no edition has this index.
NOWHERE: constant(uint256) = max_value(uint256)

# What one recipient with code may burn before it is skipped: our own writes take up to 80,000 of it.
ISOLATED_GAS: constant(uint256) = 200_000
# The 64th that EIP-150 holds back from the call above, and what logging the skip takes.
ISOLATED_RESERVE: constant(uint256) = 10_000

RECEIVED: constant(bytes4) = 0xF23A6E61
BATCH_RECEIVED: constant(bytes4) = 0xBC197C81

# secp256k1 order / 2: of the two signatures of one message only the lower is accepted (EIP-2).
HALF_ORDER: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
RETURN_TYPE: constant(bytes32) = keccak256(
    "ReturnToTreasury(uint256 purchase_id,uint256 id,uint256 amount,uint256 deadline)"
)
NAME_HASH: constant(bytes32) = keccak256("Vitrine Goods")
VERSION_HASH: constant(bytes32) = keccak256("1")

# The name of the collection, and of the domain of its signatures (EIP-712).
name: public(constant(String[13])) = "Vitrine Goods"

# Who administers: minters, pause, treasury, royalty and addresses of metadata. Cannot move anybody's tokens.
owner: public(address)
# Whom the ownership is offered to, or zero.
pending_owner: public(address)
# Who may define, mint and carry out signed returns.
is_minter: public(HashMap[address, bool])
# Whether minting, returns and transfers are stopped.
paused: public(bool)
# Whether an owner allowed an operator to move all its tokens here (ERC-1155).
isApprovedForAll: public(HashMap[address, HashMap[address, bool]])

_balances: HashMap[uint256, HashMap[address, uint256]]
# One word per edition: cap in the high half, tokens ever minted in the low half. 0 is undefined.
_supply: HashMap[uint256, uint256]
_serials: HashMap[uint256, HashMap[uint256, uint256]]
_minted_words: HashMap[uint256, uint256]
_returned_words: HashMap[uint256, uint256]
_uris: HashMap[uint256, String[256]]
_base_uri: String[256]
_treasury: address
_royalty_receiver: address
_royalty_bps: uint256


@deploy
def __init__(base_uri: String[256], treasury: address, royalty_receiver: address, royalty_bps: uint256):
    """
    @notice The sender becomes owner and first minter.
    @param base_uri Answered by `uri` for items without their own.
    @param treasury Where returned tokens go; zero stands for the owner of the day.
    @param royalty_receiver Whom ERC-2981 names; zero stands for the owner of the day.
    @param royalty_bps Royalty in hundredths of a percent.
    """
    assert royalty_bps <= 10_000, "royalty"
    self.owner = msg.sender
    self.is_minter[msg.sender] = True
    self._base_uri = base_uri
    self._treasury = treasury
    self._royalty_receiver = royalty_receiver
    self._royalty_bps = royalty_bps
    log OwnershipTransferred(previous_owner=empty(address), new_owner=msg.sender)
    log MinterSet(account=msg.sender, enabled=True)


# Roles


@internal
@view
def _only_owner():
    assert msg.sender == self.owner, "owner"


@internal
@view
def _only_minter():
    assert self.is_minter[msg.sender], "minter"


@internal
@view
def _only_running():
    assert not self.paused, "paused"


@external
def transfer_ownership(candidate: address):
    """
    @notice Offer the ownership; nothing changes before the candidate accepts.
    @dev Only the owner. The ownership cannot be given up.
    @param candidate Who may accept; zero withdraws the offer.
    """
    self._only_owner()
    self.pending_owner = candidate
    log OwnershipOffered(owner=msg.sender, candidate=candidate)


@external
def accept_ownership():
    """
    @notice Take the ownership that was offered to the sender.
    @dev The previous owner stays a minter if it was one: follow with `set_minter`.
    """
    assert msg.sender == self.pending_owner, "owner"
    log OwnershipTransferred(previous_owner=self.owner, new_owner=msg.sender)
    self.owner = msg.sender
    self.pending_owner = empty(address)


@external
def set_minter(account: address, enabled: bool):
    """
    @notice Let an account define, mint and return, or stop it.
    @dev Only the owner.
    @param account The minter.
    @param enabled False takes the role away.
    """
    self._only_owner()
    self.is_minter[account] = enabled
    log MinterSet(account=account, enabled=enabled)


@external
def set_paused(enabled: bool):
    """
    @notice Stop or resume minting, returns and transfers.
    @dev Only the owner. Approvals and definitions go on.
    @param enabled True stops.
    """
    self._only_owner()
    self.paused = enabled
    log PausedSet(paused=enabled)


@external
def set_treasury(account: address):
    """
    @notice Choose where returned tokens go from now on.
    @dev Only the owner. An account with code must accept ERC-1155 tokens, or no return succeeds.
    @param account The treasury; zero stands for the owner of the day.
    """
    self._only_owner()
    self._treasury = account
    log TreasurySet(treasury=account)


@external
def set_royalty(receiver: address, basis_points: uint256):
    """
    @notice Choose what `royaltyInfo` answers for every token.
    @dev Only the owner.
    @param receiver Whom to pay; zero stands for the owner of the day.
    @param basis_points Hundredths of a percent of the price, at most 10,000.
    @custom:standard ERC-2981
    """
    self._only_owner()
    assert basis_points <= 10_000, "royalty"
    self._royalty_receiver = receiver
    self._royalty_bps = basis_points
    log RoyaltySet(receiver=receiver, basis_points=basis_points)


@external
def set_base_uri(text: String[256]):
    """
    @notice Change the metadata address of all items without their own.
    @dev Only the owner.
    @param text The address, in which readers replace {id} by the token id in hexadecimal (ERC-1155 Metadata).
    """
    self._only_owner()
    self._base_uri = text


@external
def set_uri(id: uint256, text: String[256]):
    """
    @notice Correct the metadata address of an edition.
    @dev Only the owner.
    @param id An edition that is defined.
    @param text The address; empty for the base URI.
    @custom:standard ERC-1155 Metadata URI
    """
    self._only_owner()
    assert self._supply[id] != 0, "undefined"
    self._uris[id] = text
    log URI(_value=text, _id=id)


# Editions


@internal
def _define(id: uint256, max_supply: uint256, uri: String[256]):
    assert id < EDITION_LIMIT, "id"
    assert max_supply > 0 and max_supply <= UINT128_MAX, "supply"
    self._supply[id] = max_supply << 128
    log Defined(id=id, max_supply=max_supply)
    if len(uri) > 0:
        self._uris[id] = uri
        log URI(_value=uri, _id=id)


@external
def define(id: uint256, max_supply: uint256, uri: String[256]):
    """
    @notice Define an edition, once and for ever.
    @dev Only minters. An address of metadata is the one thing that can be corrected, by the owner.
    @param id Below 2**191.
    @param max_supply Most tokens there will ever be; 2**128 - 1 for an open edition.
    @param uri Metadata address; empty for the base URI.
    """
    self._only_minter()
    assert self._supply[id] == 0, "defined"
    self._define(id, max_supply, uri)


@external
def define_many(
    ids: DynArray[uint256, MAX_BATCH],
    max_supplies: DynArray[uint256, MAX_BATCH],
    uris: DynArray[String[256], MAX_BATCH],
):
    """
    @notice Define editions as `define` does, leaving those alone that exist, so that a repeated import is harmless.
    @dev Only minters. The arrays are of equal length, at most 256.
    @param ids The editions.
    @param max_supplies Their caps.
    @param uris Their metadata addresses.
    """
    self._only_minter()
    assert len(ids) == len(max_supplies) and len(ids) == len(uris), "length"
    for i: uint256 in range(len(ids), bound=MAX_BATCH):
        if self._supply[ids[i]] != 0:
            log DefinitionSkipped(id=ids[i])
        else:
            self._define(ids[i], max_supplies[i], uris[i])


@internal
@pure
def _edition(id: uint256) -> uint256:
    return (id ^ NUMBERED) >> 64 if id >= NUMBERED else id


@internal
@view
def _serial_taken(edition: uint256, serial: uint256) -> bool:
    return (self._serials[edition][serial >> 8] >> (serial & 255)) & 1 == 1


@external
@view
def is_defined(id: uint256) -> bool:
    """
    @notice Whether an edition, or the edition of a numbered copy, exists.
    @param id An edition or a numbered copy.
    @return True if it was defined.
    """
    return self._supply[self._edition(id)] != 0


@external
@view
def max_supply(id: uint256) -> uint256:
    """
    @notice The cap of an edition; 1 for a numbered copy within its edition's range, else 0.
    @param id An edition or a numbered copy.
    @return Most tokens of it there will ever be; 2**128 - 1 for an open edition, 0 for an undefined one.
    """
    cap: uint256 = self._supply[self._edition(id)] >> 128
    if id < NUMBERED:
        return cap
    serial: uint256 = id & SERIAL_MASK
    return 1 if serial > 0 and serial <= cap else 0


@external
@view
def minted(id: uint256) -> uint256:
    """
    @notice Tokens ever minted of an edition, its numbered copies included; 0 or 1 for a numbered copy.
    @param id An edition or a numbered copy.
    @return A count that never falls: nothing is burned.
    """
    if id < NUMBERED:
        return self._supply[id] & UINT128_MAX
    return 1 if self._serial_taken(self._edition(id), id & SERIAL_MASK) else 0


@external
@view
def uri(id: uint256) -> String[256]:
    """
    @notice Metadata address; a numbered copy answers with its edition's.
    @param id Any token id.
    @return The address; the base URI for items without their own.
    @custom:standard ERC-1155 Metadata URI
    """
    edition: uint256 = self._edition(id)
    if len(self._uris[edition]) > 0:
        return self._uris[edition]
    return self._base_uri


# Minting


@internal
@view
def _is_set(word: uint256, number: uint256) -> bool:
    return (word >> (number & 255)) & 1 == 1


@internal
@view
def _cap_and_left(edition: uint256) -> (uint256, uint256):
    supply: uint256 = self._supply[edition]
    return supply >> 128, (supply >> 128) - (supply & UINT128_MAX)


@internal
def _store_supply(edition: uint256, cap: uint256, left: uint256):
    if edition != NOWHERE:
        self._supply[edition] = (cap << 128) | (cap - left)


@internal
def _claim_serial(id: uint256, amount: uint256, cap: uint256) -> bool:
    """
    @dev Use up the serial of a numbered copy. False if it is out of range or taken.
    """
    edition: uint256 = self._edition(id)
    serial: uint256 = id & SERIAL_MASK
    word: uint256 = self._serials[edition][serial >> 8]
    if amount != 1 or serial == 0 or serial > cap or self._is_set(word, serial):
        return False
    self._serials[edition][serial >> 8] = word | (1 << (serial & 255))
    return True


@internal
def _take(id: uint256, amount: uint256) -> bool:
    """
    @dev Count `amount` against the cap, and for a numbered copy claim its serial. False if that cannot be.
    """
    edition: uint256 = self._edition(id)
    cap: uint256 = 0
    left: uint256 = 0
    cap, left = self._cap_and_left(edition)
    # Compared with what is left, not added to what is minted: a huge amount must not overflow and fail the batch.
    if amount == 0 or amount > left:
        return False
    if id >= NUMBERED and not self._claim_serial(id, amount, cap):
        return False
    self._store_supply(edition, cap, left - amount)
    return True


@internal
def _hand_over(operator: address, purchase_id: uint256, to: address, id: uint256, amount: uint256):
    self._minted_words[purchase_id >> 8] |= 1 << (purchase_id & 255)
    self._balances[id][to] += amount
    log PurchaseMinted(purchase_id=purchase_id)
    log TransferSingle(_operator=operator, _from=empty(address), _to=to, _id=id, _value=amount)


@internal
def _mint(purchase_id: uint256, to: address, id: uint256, amount: uint256):
    """
    @dev Mint or skip one purchase.
    """
    if self._is_set(self._minted_words[purchase_id >> 8], purchase_id):
        log PurchaseSkipped(purchase_id=purchase_id, reason=ALREADY_MINTED)
    elif to == empty(address):
        log PurchaseSkipped(purchase_id=purchase_id, reason=RECEIVER_REFUSED)
    elif not to.is_contract:
        if self._take(id, amount):
            self._hand_over(msg.sender, purchase_id, to, id, amount)
        else:
            log PurchaseSkipped(purchase_id=purchase_id, reason=SOLD_OUT)
    else:
        # A recipient with code runs it. In a call of its own it can only burn its own allowance, and what was written
        # for it is undone with it. Too little gas left is the sender's fault, not the recipient's: fail the whole.
        assert msg.gas > ISOLATED_GAS + ISOLATED_GAS // 63 + ISOLATED_RESERVE, "gas"
        ok: bool = False
        answer: Bytes[32] = b""
        ok, answer = raw_call(
            self,
            abi_encode(
                msg.sender,
                purchase_id,
                to,
                id,
                amount,
                method_id=method_id("mint_isolated(address,uint256,address,uint256,uint256)"),
            ),
            max_outsize=32,
            gas=ISOLATED_GAS,
            revert_on_failure=False,
        )
        if not ok:
            log PurchaseSkipped(purchase_id=purchase_id, reason=RECEIVER_REFUSED)
        elif not abi_decode(answer, bool):
            log PurchaseSkipped(purchase_id=purchase_id, reason=SOLD_OUT)


@external
def mint(purchase_id: uint256, to: address, id: uint256, amount: uint256):
    """
    @notice Mint one purchase, or skip it with the reason in an event.
    @dev Only minters.
    @param purchase_id Its number; a number mints at most once.
    @param to The recipient. One with code must answer onERC1155Received within a fixed allowance of gas.
    @param id An edition or a numbered copy.
    @param amount At least 1, and 1 for a numbered copy.
    @custom:standard ERC-1155, "Mint/create and burn/destroy rules"
    """
    self._only_minter()
    self._only_running()
    self._mint(purchase_id, to, id, amount)


@external
def mint_many(
    purchase_ids: DynArray[uint256, MAX_BATCH],
    tos: DynArray[address, MAX_BATCH],
    ids: DynArray[uint256, MAX_BATCH],
    amounts: DynArray[uint256, MAX_BATCH],
):
    """
    @notice Mint many purchases, each as `mint` does; one that cannot be minted never fails its neighbours.
    @dev Only minters. The arrays are of equal length, at most 256.
    @param purchase_ids The purchase numbers.
    @param tos The recipient of each.
    @param ids The edition or numbered copy of each.
    @param amounts How many of each.
    @custom:standard ERC-1155, "Mint/create and burn/destroy rules"
    """
    self._only_minter()
    self._only_running()
    count: uint256 = len(purchase_ids)
    assert count == len(tos) and count == len(ids) and count == len(amounts), "length"
    # Neighbours share the word of used numbers and mostly the edition. Both stay in memory while they are the same
    # and are written back before others take their place and before code of a recipient runs.
    word_at: uint256 = NOWHERE
    word: uint256 = 0
    edition: uint256 = NOWHERE
    cap: uint256 = 0
    left: uint256 = 0
    for i: uint256 in range(count, bound=MAX_BATCH):
        purchase_id: uint256 = purchase_ids[i]
        to: address = tos[i]
        id: uint256 = ids[i]
        if to.is_contract or to == empty(address):
            self._store_word(word_at, word)
            self._store_supply(edition, cap, left)
            word_at = NOWHERE
            edition = NOWHERE
            self._mint(purchase_id, to, id, amounts[i])
            continue
        if purchase_id >> 8 != word_at:
            self._store_word(word_at, word)
            word_at = purchase_id >> 8
            word = self._minted_words[word_at]
        bit: uint256 = 1 << (purchase_id & 255)
        if word & bit != 0:
            log PurchaseSkipped(purchase_id=purchase_id, reason=ALREADY_MINTED)
            continue
        wanted: uint256 = id if id < NUMBERED else (id ^ NUMBERED) >> 64
        if wanted != edition:
            self._store_supply(edition, cap, left)
            edition = wanted
            cap, left = self._cap_and_left(wanted)
        amount: uint256 = amounts[i]
        if amount == 0 or amount > left or (id >= NUMBERED and not self._claim_serial(id, amount, cap)):
            log PurchaseSkipped(purchase_id=purchase_id, reason=SOLD_OUT)
            continue
        word |= bit
        left = unsafe_sub(left, amount)  # compared above
        self._balances[id][to] += amount
        log PurchaseMinted(purchase_id=purchase_id)
        log TransferSingle(_operator=msg.sender, _from=empty(address), _to=to, _id=id, _value=amount)
    self._store_word(word_at, word)
    self._store_supply(edition, cap, left)


@internal
def _store_word(word_at: uint256, word: uint256):
    if word_at != NOWHERE:
        self._minted_words[word_at] = word


@external
def mint_isolated(operator: address, purchase_id: uint256, to: address, id: uint256, amount: uint256) -> bool:
    """
    @notice Mint one purchase to a recipient with code; reverts if the recipient refuses.
    @dev Only for this contract itself, see `_mint`.
    @param operator Who minted, as the events and the recipient are told.
    @param purchase_id Its number, not yet used.
    @param to The recipient.
    @param id An edition or a numbered copy.
    @param amount How many.
    @return False if sold out.
    @custom:standard ERC-1155, onERC1155Received
    """
    assert msg.sender == self, "self"
    if not self._take(id, amount):
        return False
    self._hand_over(operator, purchase_id, to, id, amount)
    self._ask_receiver(operator, empty(address), to, id, amount, b"")
    return True


@external
@view
def is_minted(purchase_id: uint256) -> bool:
    """
    @notice Whether a purchase number is used up.
    @param purchase_id Any number.
    @return True from its mint on, for ever.
    """
    return self._is_set(self._minted_words[purchase_id >> 8], purchase_id)


@external
@view
def are_minted(purchase_ids: DynArray[uint256, MAX_BATCH]) -> DynArray[bool, MAX_BATCH]:
    """
    @notice `is_minted` of up to 256 numbers.
    @param purchase_ids The numbers.
    @return One answer each, in their order.
    """
    flags: DynArray[bool, MAX_BATCH] = []
    for number: uint256 in purchase_ids:
        flags.append(self._is_set(self._minted_words[number >> 8], number))
    return flags


# Returns


@external
@view
def treasury() -> address:
    """
    @notice Where returned tokens go.
    @return The treasury, or the owner where none is set.
    """
    return self._treasury_or_owner()


@internal
@view
def _treasury_or_owner() -> address:
    return self.owner if self._treasury == empty(address) else self._treasury


@internal
@view
def _domain_separator() -> bytes32:
    # Not stored: after a fork of the chain a signature for one side must not work on the other.
    return keccak256(abi_encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, chain.id, self))


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    """
    @notice The domain that signatures of returns are bound to: this contract on this chain.
    @return The hash of the domain.
    @custom:standard EIP-712
    """
    return self._domain_separator()


@internal
@view
def _return_refusal(
    purchase_id: uint256,
    holder: address,
    id: uint256,
    amount: uint256,
    deadline: uint256,
    v: uint8,
    r: uint256,
    s: uint256,
) -> uint256:
    """
    @dev The reason why this return cannot be, or 0.
    """
    if self._is_set(self._returned_words[purchase_id >> 8], purchase_id):
        return ALREADY_RETURNED
    if not self._is_set(self._minted_words[purchase_id >> 8], purchase_id):
        return NOT_MINTED
    if block.timestamp > deadline:
        return EXPIRED
    digest: bytes32 = keccak256(
        concat(
            x"1901",
            self._domain_separator(),
            keccak256(abi_encode(RETURN_TYPE, purchase_id, id, amount, deadline)),
        )
    )
    if s > HALF_ORDER or holder == empty(address) or ecrecover(digest, v, r, s) != holder:
        return BAD_SIGNATURE
    if amount == 0 or self._balances[id][holder] < amount:
        return NOT_HELD
    return 0


@internal
def _take_back(purchase_id: uint256, holder: address, id: uint256, amount: uint256):
    treasury: address = self._treasury_or_owner()
    self._returned_words[purchase_id >> 8] |= 1 << (purchase_id & 255)
    self._balances[id][holder] -= amount
    self._balances[id][treasury] += amount
    log PurchaseReturned(purchase_id=purchase_id, holder=holder)
    log TransferSingle(_operator=msg.sender, _from=holder, _to=treasury, _id=id, _value=amount)
    # The treasury is the owner's choice, so its refusal may fail the whole call.
    self._ask_receiver(msg.sender, holder, treasury, id, amount, b"")


@external
def return_to_treasury(
    purchase_id: uint256,
    holder: address,
    id: uint256,
    amount: uint256,
    deadline: uint256,
    v: uint8,
    r: uint256,
    s: uint256,
):
    """
    @notice Move a purchase back to the treasury with its holder's signature, so that the holder needs no gas.
    @dev Only minters. A purchase returns at most once; a repeat is skipped with an event. The contract does not store what a
         purchase held: the signature over id and amount, and the minter, answer for that.
    @param purchase_id A minted purchase number.
    @param holder Who signed ReturnToTreasury (EIP-712) and holds the tokens.
    @param id The token.
    @param amount How many of it.
    @param deadline Last second, since the epoch, at which the signature is good.
    @param v 27 or 28.
    @param r First half of the signature.
    @param s Second half, in its lower form.
    @custom:standard EIP-712; EIP-2 for the lower form
    """
    self._only_minter()
    self._only_running()
    reason: uint256 = self._return_refusal(purchase_id, holder, id, amount, deadline, v, r, s)
    if reason == ALREADY_RETURNED:
        log PurchaseSkipped(purchase_id=purchase_id, reason=reason)
        return
    assert reason != NOT_MINTED, "not minted"
    assert reason != EXPIRED, "expired"
    assert reason != BAD_SIGNATURE, "signature"
    assert reason != NOT_HELD, "balance"
    self._take_back(purchase_id, holder, id, amount)


@external
def return_many(
    purchase_ids: DynArray[uint256, MAX_BATCH],
    holders: DynArray[address, MAX_BATCH],
    ids: DynArray[uint256, MAX_BATCH],
    amounts: DynArray[uint256, MAX_BATCH],
    deadlines: DynArray[uint256, MAX_BATCH],
    vs: DynArray[uint8, MAX_BATCH],
    rs: DynArray[uint256, MAX_BATCH],
    ss: DynArray[uint256, MAX_BATCH],
):
    """
    @notice Return many purchases as `return_to_treasury` does; what cannot be returned is skipped with its reason.
    @dev Only minters. The arrays are of equal length, at most 256. A treasury that refuses fails the whole call.
    @param purchase_ids Minted purchase numbers.
    @param holders Who signed each and holds its tokens.
    @param ids The token of each.
    @param amounts How many of each.
    @param deadlines Last second of each signature, since the epoch.
    @param vs 27 or 28 each.
    @param rs First halves of the signatures.
    @param ss Second halves, in their lower form.
    @custom:standard EIP-712; EIP-2 for the lower form
    """
    self._only_minter()
    self._only_running()
    count: uint256 = len(purchase_ids)
    assert count == len(holders) and count == len(ids) and count == len(amounts), "length"
    assert count == len(deadlines) and count == len(vs) and count == len(rs) and count == len(ss), "length"
    for i: uint256 in range(count, bound=MAX_BATCH):
        reason: uint256 = self._return_refusal(
            purchase_ids[i], holders[i], ids[i], amounts[i], deadlines[i], vs[i], rs[i], ss[i]
        )
        if reason == 0:
            self._take_back(purchase_ids[i], holders[i], ids[i], amounts[i])
        else:
            log PurchaseSkipped(purchase_id=purchase_ids[i], reason=reason)


@external
@view
def is_returned(purchase_id: uint256) -> bool:
    """
    @notice Whether a purchase went back to the treasury.
    @param purchase_id Any number.
    @return True from its return on, for ever.
    """
    return self._is_set(self._returned_words[purchase_id >> 8], purchase_id)


@external
@view
def are_returned(purchase_ids: DynArray[uint256, MAX_BATCH]) -> DynArray[bool, MAX_BATCH]:
    """
    @notice `is_returned` of up to 256 numbers.
    @param purchase_ids The numbers.
    @return One answer each, in their order.
    """
    flags: DynArray[bool, MAX_BATCH] = []
    for number: uint256 in purchase_ids:
        flags.append(self._is_set(self._returned_words[number >> 8], number))
    return flags


# ERC-1155, ERC-165 and ERC-2981


@external
@view
def supportsInterface(interface_id: bytes4) -> bool:
    """
    @notice Yes to ERC-165, ERC-1155, its Metadata URI extension, and ERC-2981.
    @param interface_id The selectors of the interface's functions, combined with exclusive or.
    @return Whether this contract has the interface.
    @custom:standard ERC-165
    """
    return interface_id in [0x01FFC9A7, 0xD9B67A26, 0x0E89341C, 0x2A55205A]


@external
@view
def royaltyInfo(id: uint256, price: uint256) -> (address, uint256):
    """
    @notice Whom to pay and how much when a token is resold; the same share for every token.
    @param id Any token id.
    @param price The price of the resale, in any unit.
    @return The receiver, and its share in the same unit, rounded down.
    @custom:standard ERC-2981
    """
    receiver: address = self._royalty_receiver
    if receiver == empty(address):
        receiver = self.owner
    # In two parts, so that no price is too large to be multiplied. The parts together are the exact share.
    bps: uint256 = self._royalty_bps
    return receiver, price // 10_000 * bps + price % 10_000 * bps // 10_000


@external
@view
def balanceOf(account: address, id: uint256) -> uint256:
    """
    @notice How many tokens an account holds.
    @param account The holder.
    @param id The token.
    @return Its balance.
    @custom:standard ERC-1155
    """
    return self._balances[id][account]


@external
@view
def balanceOfBatch(
    accounts: DynArray[address, MAX_BATCH], ids: DynArray[uint256, MAX_BATCH]
) -> DynArray[uint256, MAX_BATCH]:
    """
    @notice `balanceOf` of up to 256 pairs.
    @param accounts The holders.
    @param ids The token of each.
    @return One balance each, in their order.
    @custom:standard ERC-1155
    """
    assert len(accounts) == len(ids), "length"
    balances: DynArray[uint256, MAX_BATCH] = []
    for i: uint256 in range(len(ids), bound=MAX_BATCH):
        balances.append(self._balances[ids[i]][accounts[i]])
    return balances


@external
def setApprovalForAll(operator: address, approved: bool):
    """
    @notice Let an operator move all tokens of the sender, those to come included, or take that back.
    @param operator Who may.
    @param approved False takes it back.
    @custom:standard ERC-1155
    """
    self.isApprovedForAll[msg.sender][operator] = approved
    log ApprovalForAll(_owner=msg.sender, _operator=operator, _approved=approved)


@internal
@view
def _check_transfer(sender: address, to: address):
    self._only_running()
    assert sender == msg.sender or self.isApprovedForAll[sender][msg.sender], "approval"
    assert to != empty(address), "zero"


@internal
def _move(sender: address, to: address, id: uint256, amount: uint256):
    held: uint256 = self._balances[id][sender]
    assert held >= amount, "balance"
    self._balances[id][sender] = held - amount
    self._balances[id][to] += amount


@internal
def _ask_receiver(
    operator: address, sender: address, to: address, id: uint256, amount: uint256, data: Bytes[1024]
):
    if to.is_contract:
        answer: bytes4 = extcall IERC1155Receiver(to).onERC1155Received(operator, sender, id, amount, data)
        assert answer == RECEIVED, "receiver"


@external
def safeTransferFrom(sender: address, to: address, id: uint256, amount: uint256, data: Bytes[1024]):
    """
    @notice Move tokens of one id.
    @dev The sender of the transaction is the holder or an operator of it. Not while paused.
    @param sender The holder.
    @param to The recipient. One with code must answer onERC1155Received.
    @param id The token.
    @param amount How many.
    @param data Handed on to the recipient, at most 1,024 bytes.
    @custom:standard ERC-1155
    """
    self._check_transfer(sender, to)
    self._move(sender, to, id, amount)
    log TransferSingle(_operator=msg.sender, _from=sender, _to=to, _id=id, _value=amount)
    self._ask_receiver(msg.sender, sender, to, id, amount, data)


@external
def safeBatchTransferFrom(
    sender: address,
    to: address,
    ids: DynArray[uint256, MAX_TRANSFER_BATCH],
    amounts: DynArray[uint256, MAX_TRANSFER_BATCH],
    data: Bytes[1024],
):
    """
    @notice Move tokens of up to 64 ids, all or nothing.
    @dev The sender of the transaction is the holder or an operator of it. Not while paused.
    @param sender The holder.
    @param to The recipient. One with code must answer onERC1155BatchReceived.
    @param ids The tokens.
    @param amounts How many of each.
    @param data Handed on to the recipient, at most 1,024 bytes.
    @custom:standard ERC-1155
    """
    self._check_transfer(sender, to)
    assert len(ids) == len(amounts), "length"
    for i: uint256 in range(len(ids), bound=MAX_TRANSFER_BATCH):
        self._move(sender, to, ids[i], amounts[i])
    log TransferBatch(_operator=msg.sender, _from=sender, _to=to, _ids=ids, _values=amounts)
    if to.is_contract:
        answer: bytes4 = extcall IERC1155Receiver(to).onERC1155BatchReceived(msg.sender, sender, ids, amounts, data)
        assert answer == BATCH_RECEIVED, "receiver"
