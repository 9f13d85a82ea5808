"""The limit of the load generator: a server that does nothing, on an epoll loop in CPython.

It answers each frame, line or request with a constant, keeps nothing and parses nothing that it can avoid: what the
load generator reaches against it is the most it could show of any server. Watchers get each value as it was sent,
built once. It knows three things of the load: all frames of a connection that are longer than 125 bytes have the same
length, short ones come one at a time, and an HTTP request is complete when it arrives.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket

from tools.benchmark.wire import OK_FRAME, OK_LINE, RECEIVE_BYTES
from tools.clients.exact_clients import apply_mask

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HTTP_BODY = b"empty;empty;value " + b"V" * 200 + b"\n"
_HTTP_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %d\r\n\r\n" % len(_HTTP_BODY)
    + _HTTP_BODY
)


class _Peer:
    """One connection: its protocol (which becomes `websocket` after the handshake) and what arrived of a frame."""

    __slots__ = ("protocol", "rest", "socket")

    def __init__(self, connection: socket.socket, protocol: str) -> None:
        self.socket = connection
        self.protocol = protocol
        self.rest = b""


class RawServer:
    """Listens on three ports like the server and answers with constants until it is ended by a signal."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, str]] = {}
        self._peers: dict[int, _Peer] = {}
        self._watchers: set[socket.socket] = set()

    def listen(self) -> None:
        """Open the listeners and print their addresses in the server's own words."""
        for protocol in ("websocket", "http", "tcp"):
            listener = socket.create_server(("127.0.0.1", 0), backlog=5000)
            self._listeners[listener.fileno()] = (listener, protocol)
            self._poll.register(listener, select.EPOLLIN)
            print(f"listening: {protocol} 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        print("ready", flush=True)

    def serve_forever(self) -> None:
        """Answer whatever arrives."""
        peers = self._peers
        while True:
            for descriptor, _ in self._poll.poll():
                peer = peers.get(descriptor)
                if peer is None:
                    self._accept(*self._listeners[descriptor])
                    continue
                try:
                    chunk = peer.socket.recv(RECEIVE_BYTES)
                    if chunk:
                        self._answer(peer, chunk)
                        continue
                except (ConnectionResetError, BrokenPipeError):
                    pass
                self._watchers.discard(peer.socket)
                del peers[descriptor]
                peer.socket.close()

    def _accept(self, listener: socket.socket, protocol: str) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll.register(connection, select.EPOLLIN)
        self._peers[connection.fileno()] = _Peer(connection, "handshake" if protocol == "websocket" else protocol)
        if protocol == "tcp":
            connection.sendall(OK_LINE)

    def _answer(self, peer: _Peer, chunk: bytes) -> None:
        match peer.protocol:
            case "websocket":
                self._answer_frames(peer, peer.rest + chunk if peer.rest else chunk)
            case "tcp":
                peer.socket.sendall(OK_LINE * chunk.count(b"\n"))
            case "http":
                peer.socket.sendall(_HTTP_RESPONSE * chunk.count(b"POST "))
            case "handshake":
                key = chunk.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX).digest())
                peer.socket.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
                )
                peer.protocol = "websocket"

    def _answer_frames(self, peer: _Peer, data: bytes) -> None:
        length = data[1] & 0x7F
        if length < 126:
            peer.socket.sendall(OK_FRAME)
            if apply_mask(data[6 : 6 + length], data[2:6]).startswith(b"watch "):
                self._watchers.add(peer.socket)
            return
        frame_bytes = 8 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else len(data) + 1
        count, rest_bytes = divmod(len(data), frame_bytes)
        peer.rest = data[len(data) - rest_bytes :] if rest_bytes else b""
        peer.socket.sendall(OK_FRAME * count)
        if self._watchers:
            for start in range(0, count * frame_bytes, frame_bytes):
                self._tell_watchers(apply_mask(data[start + 8 : start + frame_bytes], data[start + 4 : start + 8]))

    def _tell_watchers(self, command: bytes) -> None:
        _, key, value = command.split(b" ", 2)
        messages = (b"changed %b %b\n" % (key, value), b"changed-version %b 0 %b\n" % (key, value))
        frames = b"".join(b"\x81\x7e" + len(message).to_bytes(2, "big") + message for message in messages)
        for watcher in self._watchers:
            watcher.sendall(frames)


if __name__ == "__main__":
    server = RawServer()
    server.listen()
    server.serve_forever()
