"""An etcd in memory: takes the gateway's requests and gives its answers, always the same ones. No sockets, no clock.

It is one linearizable server. What a network and a cluster do to requests (late, twice, never) is the caller's part.
`tests/system/cluster/test_fake_etcd.py` compares it with a real etcd.
"""

from __future__ import annotations

import binascii
import bisect
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.gateway import Event, Pair, WatchAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pynun.cluster.etcd.gateway import AnswerT, Request

_INVALID, _NOT_FOUND = 3, 5
_HTTP: Final = {_INVALID: 400, _NOT_FOUND: 404}


class _Refusal(Exception):
    """The request is refused with a code of gRPC and a text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Lease(NamedTuple):
    seconds: int
    ends_at: float


class FakeWatch:
    """One watch, from which answers are taken."""

    def __init__(self, etcd: FakeEtcd, key: bytes, end: bytes, revision: int) -> None:
        self._etcd = etcd
        self._key = key
        self._end = end
        self._next = revision
        self._has_begun = False
        self.is_over = False

    def take(self) -> list[bytes]:
        """What has happened since the last time, as the lines of the stream; [] if nothing."""
        if self.is_over:
            return []
        lines = [] if self._has_begun else [self._etcd.line({"created": True})]
        self._has_begun = True
        if self._next < self._etcd.compacted:
            self.is_over = True
            end = {"header": {}, "canceled": True, "compact_revision": str(self._etcd.compacted)}
            lines.append(json.dumps({"result": end}).encode())
            return lines
        found = self._etcd.since(self._next)
        self._next = max(self._next, self._etcd.revision + 1)
        events = [_event(event) for event in found if _is_within(event.pair.key, self._key, self._end)]
        if events:
            lines.append(self._etcd.line({"events": events}))
        return lines


class FakeEtcd:
    """All keys and leases of one etcd."""

    def __init__(self, *, revision: int = 1, lease_seconds_min: int = 1) -> None:
        self.revision = revision
        self.compacted = 0
        """The oldest revision that a watch may begin at, after a compaction."""
        self.history: list[Event] = []
        """All changes that were not compacted."""
        self.pairs: dict[bytes, Pair] = {}
        self.next_lease = 1001
        self.version = "3.6.16"
        self.errors: list[str] = []
        self.used_bytes = 16384
        self._lease_seconds_min = lease_seconds_min
        self._leases: dict[int, _Lease] = {}
        self._now = 0.0

    def advance(self, now: float, late_seconds: float = 0.0) -> None:
        """Let time pass, by its own clock; leases end, perhaps so much late."""
        self._now = now
        for lease in [lease for lease, one in self._leases.items() if one.ends_at <= now - late_seconds]:
            self._revoke(lease)

    def elect(self) -> None:
        """A new leader: all leases last their full time again."""
        for lease, one in self._leases.items():
            self._leases[lease] = one._replace(ends_at=self._now + one.seconds)

    def compact(self, revision: int) -> None:
        """Forget what was before a revision."""
        self.compacted = revision
        self.history = [event for event in self.history if event.pair.modified >= revision]

    def since(self, revision: int) -> list[Event]:
        """All changes from a revision on that were not compacted."""
        return self.history[bisect.bisect_left(self.history, revision, key=lambda event: event.pair.modified) :]

    def call(self, request: Request[AnswerT], _until: object = None) -> AnswerT:
        """Answer at once, as `BlockingClient.call` does where nothing fails. Raises EtcdError."""
        return gateway.answer(request, *self.answer(request.path, request.body))

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The response to a request: its HTTP status and body."""
        try:
            found = _HANDLERS[path](self, json.loads(body))
        except _Refusal as error:
            said = {"code": error.code, "message": error.message, "details": []}
            return _HTTP[error.code], json.dumps(said).encode()
        return 200, json.dumps(found).encode()

    def watch(self, request: Request[WatchAnswer]) -> FakeWatch:
        """Begin a watch."""
        found = json.loads(request.body)["create_request"]
        return FakeWatch(self, _bytes(found, "key"), _bytes(found, "range_end"), int(found["start_revision"]))

    def line(self, content: dict[str, Any]) -> bytes:
        """A line of a watch's stream."""
        return json.dumps({"result": {"header": self._header(), **content}}).encode()

    def _status(self, _asked: dict[str, Any]) -> dict[str, Any]:
        sizes = {"dbSize": str(self.used_bytes), "dbSizeInUse": str(self.used_bytes)}
        return {"header": self._header(), "version": self.version, "leader": "1", "errors": self.errors, **sizes}

    # --- requests ----------------------------------------------------------------------------------------------

    def _header(self) -> dict[str, str]:
        return {"cluster_id": "1", "member_id": "1", "revision": str(self.revision), "raft_term": "2"}

    def _put_alone(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._put(asked, self.revision + 1)
        return {"header": self._header()}

    def _put(self, asked: dict[str, Any], revision: int) -> dict[str, Any]:
        lease = int(asked.get("lease", 0))
        if lease and lease not in self._leases:
            raise _Refusal(_NOT_FOUND, "etcdserver: requested lease not found")
        key = _bytes(asked, "key")
        before = self.pairs.get(key)
        pair = Pair(key, _bytes(asked, "value"), revision if before is None else before.created, revision, lease)
        self.pairs[key] = pair
        self.revision = revision
        self.history.append(Event(pair, is_removed=False))
        return {"response_put": {"header": self._header()}}

    def _read(self, asked: dict[str, Any]) -> dict[str, Any]:
        key, end = _bytes(asked, "key"), _bytes(asked, "range_end")
        pairs = [self.pairs[name] for name in sorted(self.pairs) if _is_within(name, key, end)]
        limit = int(asked.get("limit", 0)) or len(pairs)
        answer: dict[str, Any] = {"header": self._header()}
        if pairs:
            has_values = not asked.get("keys_only", False)
            answer |= {"kvs": [_pair(pair, has_value=has_values) for pair in pairs[:limit]], "count": str(len(pairs))}
        if len(pairs) > limit:
            answer["more"] = True
        return answer

    def _delete(self, asked: dict[str, Any], revision: int) -> dict[str, Any]:
        key, end = _bytes(asked, "key"), _bytes(asked, "range_end")
        names = [name for name in sorted(self.pairs) if _is_within(name, key, end)]
        self._remove(names, revision)
        answer: dict[str, Any] = {"header": self._header()}
        if names:
            answer["deleted"] = str(len(names))
        return {"response_delete_range": answer}

    def _remove(self, names: list[bytes], revision: int) -> None:
        for name in names:
            del self.pairs[name]
            self.revision = revision
            self.history.append(Event(Pair(name, b"", 0, revision, 0), is_removed=True))

    def _transaction(self, asked: dict[str, Any]) -> dict[str, Any]:
        succeeded = all(self._holds(compare) for compare in asked["compare"])
        operations = asked["success"] if succeeded else asked["failure"]
        for branch in (asked["success"], asked["failure"]):
            _refuse_duplicates(branch)
        for one in operations:  # before anything is changed
            lease = int(one.get("request_put", {}).get("lease", 0))
            if lease and lease not in self._leases:
                raise _Refusal(_NOT_FOUND, "etcdserver: requested lease not found")
        revision = self.revision + 1
        answers = []
        for one in operations:
            ((name, content),) = one.items()
            if name == "request_put":
                answers.append(self._put(content, revision))
            elif name == "request_range":
                answers.append({"response_range": self._read(content)})
            else:
                answers.append(self._delete(content, revision))
        answer = {"header": self._header(), "responses": answers}
        return {**answer, "succeeded": True} if succeeded else answer

    def _holds(self, compare: dict[str, Any]) -> bool:
        pair = self.pairs.get(_bytes(compare, "key"))
        assert compare["result"] == "EQUAL"
        if compare["target"] == "CREATE":
            return (0 if pair is None else pair.created) == int(compare["create_revision"])
        assert compare["target"] == "VALUE"
        return pair is not None and pair.value == _bytes(compare, "value")

    def _grant(self, asked: dict[str, Any]) -> dict[str, Any]:
        lease, self.next_lease = self.next_lease, self.next_lease + 1
        seconds = max(int(asked["TTL"]), self._lease_seconds_min)
        self._leases[lease] = _Lease(seconds, self._now + seconds)
        return {"header": self._header(), "ID": str(lease), "TTL": str(seconds)}

    def _renew(self, asked: dict[str, Any]) -> dict[str, Any]:
        lease = int(asked["ID"])
        answer: dict[str, Any] = {"header": self._header(), "ID": str(lease)}
        if (found := self._leases.get(lease)) is not None:
            self._leases[lease] = found._replace(ends_at=self._now + found.seconds)
            answer["TTL"] = str(found.seconds)
        return {"result": answer}

    def _remaining(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._leases.get(int(asked["ID"]))
        left = -1 if found is None else max(0, int(found.ends_at - self._now))
        return {"header": self._header(), "ID": asked["ID"], "TTL": str(left)}

    def _revoke_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        lease = int(asked["ID"])
        if lease not in self._leases:
            raise _Refusal(_NOT_FOUND, "etcdserver: requested lease not found")
        self._revoke(lease)
        return {"header": self._header()}

    def _revoke(self, lease: int) -> None:
        del self._leases[lease]
        self._remove(sorted(name for name, pair in self.pairs.items() if pair.lease == lease), self.revision + 1)


_HANDLERS: Final[dict[str, Callable[[FakeEtcd, dict[str, Any]], dict[str, Any]]]] = {
    "/v3/maintenance/status": FakeEtcd._status,
    "/v3/kv/put": FakeEtcd._put_alone,
    "/v3/kv/range": FakeEtcd._read,
    "/v3/kv/txn": FakeEtcd._transaction,
    "/v3/lease/grant": FakeEtcd._grant,
    "/v3/lease/keepalive": FakeEtcd._renew,
    "/v3/lease/revoke": FakeEtcd._revoke_asked,
    "/v3/lease/timetolive": FakeEtcd._remaining,
}


def _refuse_duplicates(branch: list[dict[str, Any]]) -> None:
    """A key may be changed once in a branch."""
    puts = [_bytes(one["request_put"], "key") for one in branch if "request_put" in one]
    deletes = [one["request_delete_range"] for one in branch if "request_delete_range" in one]
    if len(puts) != len(set(puts)) or any(
        _is_within(key, _bytes(one, "key"), _bytes(one, "range_end")) for key in puts for one in deletes
    ):
        raise _Refusal(_INVALID, "etcdserver: duplicate key given in txn request")


def _bytes(found: dict[str, Any], name: str) -> bytes:
    return binascii.a2b_base64(found.get(name, ""))


def _is_within(name: bytes, key: bytes, end: bytes) -> bool:
    return key <= name < end if end else name == key


def _pair(pair: Pair, *, has_value: bool = True) -> dict[str, str]:
    found = {"key": _text(pair.key), "mod_revision": str(pair.modified)}
    if pair.created:
        found["create_revision"] = str(pair.created)
    if has_value and pair.value:
        found["value"] = _text(pair.value)
    if pair.lease:
        found["lease"] = str(pair.lease)
    return found


def _event(event: Event) -> dict[str, Any]:
    return {"kv": _pair(event.pair), **({"type": "DELETE"} if event.is_removed else {})}


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


class FakeClient:
    """The fake etcd as the client of the loop; a watch tells nothing."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd

    async def call(self, request: Request[AnswerT], _seconds: float) -> AnswerT:
        """Answer at once. Raises EtcdError."""
        await trio.lowlevel.checkpoint()
        return self._etcd.call(request)

    async def watch(self, _key: bytes, _end: bytes, _revision: int) -> AsyncGenerator[WatchAnswer, None]:
        """Tell nothing."""
        while True:
            yield WatchAnswer([], None, 0)
            await trio.sleep(1)
