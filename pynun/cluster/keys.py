"""The keys of a cluster in etcd, and what the smaller ones hold. Pure.

Below `/pynun/CLUSTER/`:

- `id`: a random id of the cluster's data.
- `owner`: who owns the engine, as JSON, under the owner's lease. Its create revision numbers the term.
- `head`: the number of the newest batch.
- `log/NUMBER`: a batch (`pynun.cluster.records`); 16 hexadecimal digits, so the order of keys is that of batches.
- `part/NUMBER/PLACE`: a part of a large batch; the place has 4 hexadecimal digits.
- `check`: put by `nun-db cluster check` for a moment, to see how long that takes.
- `member/NODE`: what a node says of itself; `live/NODE`: exists while it lives.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from pynun.cluster.etcd.gateway import prefix_end
from pynun.setting_values import Address, parse_address

_NUMBER_DIGITS: Final = 16
_PLACE_DIGITS: Final = 4


class Keys:
    """The keys of one cluster."""

    def __init__(self, cluster: str) -> None:
        self.prefix = f"/pynun/{cluster}/".encode()
        self.end = prefix_end(self.prefix)
        """The end of the range of all of them."""
        self.id = self.prefix + b"id"
        self.owner = self.prefix + b"owner"
        self.head = self.prefix + b"head"
        self.check = self.prefix + b"check"
        self.log_prefix = self.prefix + b"log/"
        self.log_end = prefix_end(self.log_prefix)
        self.part_prefix = self.prefix + b"part/"
        self.member_prefix = self.prefix + b"member/"
        self.live_prefix = self.prefix + b"live/"

    def log(self, number: int) -> bytes:
        """The key of a batch."""
        return self.log_prefix + f"{number:0{_NUMBER_DIGITS}x}".encode()

    def number_of(self, key: bytes) -> int | None:
        """The number of the batch that a key belongs to; None for a key that is not of the log."""
        if not key.startswith(self.log_prefix):
            return None
        return int(key[len(self.log_prefix) :], 16)

    def part(self, number: int, place: int) -> bytes:
        """The key of a part of a batch; the first has place 0."""
        return self.parts(number) + f"{place:0{_PLACE_DIGITS}x}".encode()

    def parts(self, number: int) -> bytes:
        """The prefix of all parts of a batch."""
        return self.part_prefix + f"{number:0{_NUMBER_DIGITS}x}/".encode()

    def member(self, node: str) -> bytes:
        """The key of what a node says of itself."""
        return self.member_prefix + node.encode()

    def live(self, node: str) -> bytes:
        """The key that exists while a node lives."""
        return self.live_prefix + node.encode()


class Owner(NamedTuple):
    """What the owner's key says."""

    node: str
    address: str
    """Of its link."""
    lease: int
    successor: str = ""
    """The node it hands over to; the others wait longer before they campaign."""

    @property
    def link(self) -> Address:
        """Where its link is."""
        return parse_address(self.address)

    def encode(self) -> bytes:
        """The key's value."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()


def decode_owner(value: bytes) -> Owner:
    """What a value says. Raises ValueError."""
    try:
        found = json.loads(value)
        owner = Owner(str(found["node"]), str(found["address"]), int(found["lease"]), str(found.get("successor", "")))
        parse_address(owner.address)
        return owner
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the owner's key can't be read: {error!r}") from None


def encode_number(number: int) -> bytes:
    """A number as `head` holds it."""
    return str(number).encode()


def decode_number(value: bytes) -> int:
    """The number that `head` holds. Raises ValueError."""
    return int(value)
