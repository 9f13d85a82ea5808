"""How a client's methods ask: one command, one reply, whose refusal is raised. Each client provides `_request`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pynun.client.errors import ProtocolError
from pynun.client.session import raise_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pynun.client.frames import Reply


class Asking(ABC):
    """Base of the clients with `async` methods. It waits for nothing but `_request`, so it needs no event loop."""

    @abstractmethod
    async def _request(self, command: str) -> Reply:
        """Send one command and return its reply. Raises ConnectionClosed, or what the client ended with."""

    async def _ask(self, command: str) -> tuple[str, ...]:
        """The own messages of a command. Raises what the server refuses."""
        reply = await self._request(command)
        raise_refusal(reply)
        return reply.messages

    async def _ask_one(self, command: str) -> str:
        """The own message of a command that has one."""
        messages = await self._ask(command)
        if not messages:
            raise ProtocolError("the server answered without the message that the command has")
        return messages[0]

    async def _ask_report(self, command: str) -> dict[str, Any]:
        """The JSON object in the own message of a command for programs."""
        _, _, text = (await self._ask_one(command)).partition(" ")
        try:
            report = json.loads(text)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            raise ProtocolError("the server answered without the report that the command has")
        return report

    async def _ask_rows(self, member: str, command: str) -> AsyncIterator[dict[str, Any]]:
        """The rows of a listing, page by page."""
        after = ""
        while True:
            report = await self._ask_report(f"{command}{after}")
            for row in report.get(member, ()):
                yield row
            if report.get("next") is None:
                return
            after = f" {report['next']}"
