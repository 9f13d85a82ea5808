"""Plays `session` blocks: what connections send, and every message that arrives on them, in order.

    w1 > get greeting
    w1 < value hello
    w1 < ok

`w…` are WebSocket connections (a message is a frame), `t…` TCP connections (a line), `http` a request each. A message
is shown without the newline at its end and a space before that; newlines within it as `\\n`. A number of 17 to 20
digits stands for whatever number the server chose there. At the end of a block, nothing may have arrived that is not
shown.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple

from tools.clients.exact_clients import Connection, TcpClient, WebSocketClient, http_post

if TYPE_CHECKING:
    from tests.docs.blocks import Block
    from tools.clients.server import Server

_LINE = re.compile(r"(?P<who>[wt][0-9]|http) (?P<way>[<>])(?: (?P<text>.*))?")
_NUMBER = re.compile(r"(?<![0-9])[0-9]{17,20}(?![0-9])")
_PROBE = "no-such-command"
_PROBED = f"error unknown command: {_PROBE} \n"


class Step(NamedTuple):
    """One line of a block."""

    line: int
    who: str
    is_sent: bool
    text: str


def parse(block: Block) -> list[Step]:
    """Read a block's lines; raises AssertionError that names a line which is none."""
    steps = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        match = _LINE.fullmatch(line.rstrip())
        assert match is not None, f"{block.document.name}:{number}: not a line of a session: {line!r}"
        steps.append(Step(number, match["who"], match["way"] == ">", match["text"] or ""))
    return steps


def shown(message: str) -> str:
    """Return a message as documents show it."""
    return message.removesuffix("\n").rstrip(" ").replace("\n", "\\n")


def play(block: Block, server: Server) -> None:
    """Play a block on a running server; raises AssertionError at the first line that is not so."""
    connections: dict[str, Connection] = {}
    numbers: dict[str, str] = {}  # shown -> real
    response = ""
    with contextlib.ExitStack() as stack:
        for step in parse(block):
            place = f"{block.document.name}:{step.line}"
            sent = _NUMBER.sub(lambda match: numbers.get(match[0], match[0]), step.text)
            if step.who == "http":
                if step.is_sent:
                    response = http_post(server.http, sent)
                    continue
                message = response
            else:
                if step.who not in connections:
                    kind = (
                        WebSocketClient(server.websocket)
                        if step.who[0] == "w"
                        else TcpClient(server.tcp, greeting=False)
                    )
                    connections[step.who] = stack.enter_context(kind)
                connection = connections[step.who]
                if step.is_sent:
                    connection.send(sent)
                    continue
                message = connection.take()[0]
            for old, new in zip(_NUMBER.findall(step.text), _NUMBER.findall(message), strict=False):
                numbers.setdefault(old, new)
            expected = _NUMBER.sub(lambda match: numbers.get(match[0], match[0]), step.text)
            assert shown(message) == expected, f"{place}: the server says {shown(message)!r}"
        for who, connection in connections.items():
            connection.send(_PROBE)
            left = connection.take()[0]
            assert left == _PROBED, f"{block}: {who} also received {left!r}"
