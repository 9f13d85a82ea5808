"""Requests to etcd's JSON gateway and what its answers mean. Pure.

The gateway is JSON over gRPC (etcd 3.6, api/etcdserverpb/rpc.proto): bytes are base64, 64-bit numbers are text, and
what has its default value (0, false, empty) is missing.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from pynun.cluster.etcd.errors import PERMISSION_DENIED, UNAUTHENTICATED, BusyError, EtcdError, LoginError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AnswerT = TypeVar("AnswerT", covariant=True)

_LOGIN_TEXTS: Final = ("user name is empty", "invalid auth token", "revision of auth store is old")
_BUSY_CODES: Final = frozenset({1, 2, 4, 8, 13, 14})
"""cancelled, unknown, deadline exceeded, resource exhausted, internal, unavailable: see grpc's codes."""
_UNKNOWN: Final = 2
_UNAVAILABLE: Final = 14


@dataclass(frozen=True, slots=True)
class Request(Generic[AnswerT]):
    """One request, and how to read its answer."""

    path: str
    body: bytes
    parse: Callable[[Any], AnswerT]
    """Makes the answer of the decoded JSON. Raises KeyError, TypeError or ValueError if it is not etcd's."""


# --- what is asked for -----------------------------------------------------------------------------------------------


class Put(NamedTuple):
    """Set a key, within a transaction or alone."""

    key: bytes
    value: bytes
    lease: int = 0
    """The key goes when this lease does; 0 for none."""

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": _text(self.key), "value": _text(self.value)}
        if self.lease:
            found["lease"] = str(self.lease)
        return found


class Range(NamedTuple):
    """Read the keys from `key` up to `end`, which is not included; only `key` without an end."""

    key: bytes
    end: bytes = b""
    count_max: int = 0
    """0 for all. A number of keys, so bound it by how large values may be."""
    is_keys_only: bool = False

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": _text(self.key)}
        if self.end:
            found["range_end"] = _text(self.end)
        if self.count_max:
            found["limit"] = str(self.count_max)
        if self.is_keys_only:
            found["keys_only"] = True
        return found


class Delete(NamedTuple):
    """Remove the keys from `key` up to `end`, which is not included; only `key` without an end."""

    key: bytes
    end: bytes = b""

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": _text(self.key)}
        if self.end:
            found["range_end"] = _text(self.end)
        return found


class CreatedAt(NamedTuple):
    """Compare: the key exists since this revision; 0: it does not exist."""

    key: bytes
    revision: int

    def as_json(self) -> dict[str, Any]:
        revision = str(self.revision)
        return {"key": _text(self.key), "target": "CREATE", "result": "EQUAL", "create_revision": revision}


class Holds(NamedTuple):
    """Compare: the key exists and has this value."""

    key: bytes
    value: bytes

    def as_json(self) -> dict[str, Any]:
        return {"key": _text(self.key), "target": "VALUE", "result": "EQUAL", "value": _text(self.value)}


Operation = Put | Range | Delete
Compare = CreatedAt | Holds

_OPERATION_NAMES: Final = {Put: "request_put", Range: "request_range", Delete: "request_delete_range"}


# --- what is answered ------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A key with its value; `value` is empty if only keys were asked for."""

    key: bytes
    value: bytes
    created: int
    """The revision of its first put since it was last absent."""
    modified: int
    """The revision of its newest put."""
    lease: int
    """0 for none."""


class RangeAnswer(NamedTuple):
    """Pairs in the order of their keys."""

    revision: int
    """etcd's revision when it was read."""
    pairs: list[Pair]
    has_more: bool
    """Whether `count_max` cut it short."""

    @property
    def first(self) -> Pair | None:
        """The first pair, the only one if one key was asked for."""
        return self.pairs[0] if self.pairs else None


class TransactionAnswer(NamedTuple):
    """Which of its branches a transaction took."""

    revision: int
    succeeded: bool
    answers: list[RangeAnswer | None]
    """One for each operation of that branch, in their order; None for a put or a delete."""


class LeaseAnswer(NamedTuple):
    """A lease that was granted or renewed."""

    lease: int
    seconds: int
    """From now on, as etcd counts; at most 0: there is no such lease any more. May be more than was asked for."""


class Event(NamedTuple):
    """A key was put or removed; of a removed one, `pair` has the key, and as `modified` the revision of the removal."""

    pair: Pair
    is_removed: bool


class WatchAnswer(NamedTuple):
    """A message of a watch. All events of one revision are in the same message."""

    events: list[Event]
    """In the order of their revisions. None: the watch stands, or is alive."""
    cancelled: str | None
    """Why the watch ended; None if it goes on."""
    compacted: int
    """Not 0: the watch ended because it asked for revisions before this one, which are gone."""


class StatusAnswer(NamedTuple):
    """What a member says of itself."""

    version: str
    used_bytes: int
    """Of its file; the rest is free for new entries."""
    cluster: int = 0
    """The id of the etcd that it belongs to."""
    member: int = 0
    """Its own id."""
    leader: int = 0
    """The id of the member that leads; 0 if it knows none."""
    errors: tuple[str, ...] = ()
    """What is wrong, such as `alarm:NOSPACE`: its quota is used up."""


# --- requests --------------------------------------------------------------------------------------------------------


def put(key: bytes, value: bytes, lease: int = 0) -> Request[int]:
    """Set a key; answers with etcd's new revision."""
    return _request("/v3/kv/put", Put(key, value, lease).as_json(), _revision)


def read(key: bytes, end: bytes = b"", *, count_max: int = 0, is_keys_only: bool = False) -> Request[RangeAnswer]:
    """Read a range, linearizable: the answer shows every change that was acknowledged before the request was sent."""
    return _request("/v3/kv/range", Range(key, end, count_max, is_keys_only).as_json(), _range)


def transaction(
    compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
) -> Request[TransactionAnswer]:
    """Do `then` if all comparisons hold, else `otherwise`; all at one revision."""
    content = {
        "compare": [one.as_json() for one in compares],
        "success": [{_OPERATION_NAMES[type(one)]: one.as_json()} for one in then],
        "failure": [{_OPERATION_NAMES[type(one)]: one.as_json()} for one in otherwise],
    }
    return _request("/v3/kv/txn", content, _transaction)


def grant(seconds: int) -> Request[LeaseAnswer]:
    """Make a lease. A repeated request may leave one that nobody knows, which ends by itself."""
    return _request("/v3/lease/grant", {"TTL": str(seconds)}, _lease)


def renew(lease: int) -> Request[LeaseAnswer]:
    """Have a lease last its full time again, from now on."""
    return _request("/v3/lease/keepalive", {"ID": str(lease)}, lambda found: _lease(found["result"]))


def revoke(lease: int) -> Request[int]:
    """End a lease and remove its keys; answers with etcd's revision. EtcdError with NOT_FOUND: it is gone already."""
    return _request("/v3/lease/revoke", {"ID": str(lease)}, _revision)


def remaining(lease: int) -> Request[LeaseAnswer]:
    """How long a lease still lasts."""
    return _request("/v3/lease/timetolive", {"ID": str(lease)}, _lease)


def watch(key: bytes, end: bytes, revision: int) -> Request[WatchAnswer]:
    """Tell what changes in a range, from that revision on; the answer is a stream."""
    content = {"key": _text(key), "range_end": _text(end), "start_revision": str(revision), "progress_notify": True}
    return _request("/v3/watch", {"create_request": content}, lambda found: _watch(found["result"]))


def log_in(user: str, password: str) -> Request[str]:
    """Answers with a token."""
    return _request("/v3/auth/authenticate", {"name": user, "password": password}, lambda found: str(found["token"]))


def status() -> Request[StatusAnswer]:
    """Ask the member that answers about itself; needs no login."""
    return _request("/v3/maintenance/status", {}, _status)


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with a prefix, which must not be all bytes 0xFF."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))


# --- answers ---------------------------------------------------------------------------------------------------------


def answer(request: Request[AnswerT], http_status: int, body: bytes) -> AnswerT:
    """The answer of a complete response. Raises EtcdError, and by its kinds BusyError and LoginError."""
    try:
        found = json.loads(body)
    except ValueError:
        raise _not_json(http_status, body) from None
    if http_status != 200 or not isinstance(found, dict) or "error" in found:
        raise error_of(found)
    return _parsed(request, found, body)


def answer_line(request: Request[AnswerT], line: bytes) -> AnswerT:
    """An answer of a stream. Raises as `answer` does."""
    try:
        found = json.loads(line)
    except ValueError:
        raise EtcdError(_UNKNOWN, f"unexpected answer to {request.path}: {_short(line)}") from None
    if isinstance(found, dict) and "error" in found:
        raise error_of(found)
    return _parsed(request, found, line)


def _parsed(request: Request[AnswerT], found: object, body: bytes) -> AnswerT:
    try:
        return request.parse(found)
    except (KeyError, TypeError, ValueError):
        raise EtcdError(_UNKNOWN, f"unexpected answer to {request.path}: {_short(body)}") from None


def error_of(found: object) -> EtcdError:
    """The error that an answer, decoded from JSON, stands for. Errors in a stream are one level deeper."""
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        found = found["error"]
    if not isinstance(found, dict):
        return EtcdError(_UNKNOWN, f"unexpected answer: {_short(str(found).encode())}")
    code = found.get("code", found.get("grpc_code"))
    message = str(found.get("message") or found.get("error") or "no reason given")
    if not isinstance(code, int):
        code = _UNKNOWN
    if code == UNAUTHENTICATED or any(text in message for text in _LOGIN_TEXTS):
        return LoginError(code, message)
    if code in _BUSY_CODES and "larger than max" not in message:  # which gRPC says with the code of an overload
        return BusyError(code, message)
    return EtcdError(code, message)


def cancellation(cause: str) -> EtcdError:
    """The error that a watch's `cancelled` stands for: text only, which may hold that of an error of gRPC."""
    code = PERMISSION_DENIED if "permission denied" in cause.lower() else _UNAVAILABLE
    return error_of({"code": code, "message": cause or "the watch was cancelled"})


def _without_member(error: object) -> str:
    """`alarm:NOSPACE` of `memberID:10276657743932975437 alarm:NOSPACE `: the member is known."""
    return " ".join(word for word in str(error).split() if not word.startswith("memberID:"))


def _not_json(http_status: int, body: bytes) -> EtcdError:
    said = f"answered {http_status} with text that is not JSON: {_short(body)}"
    if b"CommonName" in body:
        said += " (certificates of nodes must have no common name)"
    return EtcdError(_UNKNOWN, said)


def _short(body: bytes) -> str:
    return body[:200].decode(errors="replace").strip()


def _request(path: str, content: object, parse: Callable[[Any], AnswerT]) -> Request[AnswerT]:
    return Request(path, json.dumps(content, separators=(",", ":")).encode(), parse)


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _bytes(found: dict[str, Any], name: str) -> bytes:
    return binascii.a2b_base64(found.get(name, ""))


def _number(found: dict[str, Any], name: str) -> int:
    return int(found.get(name, 0))


def _revision(found: dict[str, Any]) -> int:
    return _number(found["header"], "revision")


def _pair(found: dict[str, Any]) -> Pair:
    return Pair(
        _bytes(found, "key"),
        _bytes(found, "value"),
        _number(found, "create_revision"),
        _number(found, "mod_revision"),
        _number(found, "lease"),
    )


def _range(found: dict[str, Any]) -> RangeAnswer:
    pairs = [_pair(one) for one in found.get("kvs", ())]
    return RangeAnswer(_revision(found), pairs, bool(found.get("more", False)))


def _transaction(found: dict[str, Any]) -> TransactionAnswer:
    answers = [_range(one["response_range"]) if "response_range" in one else None for one in found.get("responses", ())]
    return TransactionAnswer(_revision(found), bool(found.get("succeeded", False)), answers)


def _lease(found: dict[str, Any]) -> LeaseAnswer:
    return LeaseAnswer(int(found["ID"]), _number(found, "TTL"))


def _event(found: dict[str, Any]) -> Event:
    return Event(_pair(found["kv"]), found.get("type") == "DELETE")


def _watch(found: dict[str, Any]) -> WatchAnswer:
    is_cancelled = bool(found.get("canceled", False))
    return WatchAnswer(
        [_event(one) for one in found.get("events", ())],
        str(found.get("cancel_reason", "")) if is_cancelled else None,
        _number(found, "compact_revision"),
    )


def _status(found: dict[str, Any]) -> StatusAnswer:
    header = found["header"]
    return StatusAnswer(
        str(found["version"]),
        _number(found, "dbSizeInUse"),
        _number(header, "cluster_id"),
        _number(header, "member_id"),
        _number(found, "leader"),
        tuple(map(_without_member, found.get("errors", ()))),
    )
