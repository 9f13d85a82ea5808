"""What a command may need from outside before it continues.

A handler that needs something is a generator: it yields one of these, the session's owner gets the answer (a password
check runs for tens of milliseconds in a thread) and sends it back. Meanwhile the commands behind it on the same
session wait; other sessions do not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pynun.engine.events import Result

if TYPE_CHECKING:
    from pynun.engine.events import Outbox
    from pynun.engine.peer import Attempt
    from pynun.engine.secret_hashes import HashLimit


@dataclass(frozen=True, slots=True)
class VerifySecret:
    """Does `secret` have this Argon2id hash? Answered with True or False. A hash of None: answer False, as slowly."""

    hash: str | None
    secret: str = field(repr=False)
    attempt: Attempt | None = field(default=None, compare=False)
    """Whose login this is; None: it is not a login, so it is not throttled."""


@dataclass(frozen=True, slots=True)
class HashSecret:
    """Answered with the Argon2id hash (a string) of `secret`, which counts as verified from then on."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let others run: long scans yield it between slices. Answered with None."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Wait until `ask` calls back what it is given, which may be at once. Answered with None."""

    ask: Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Drain:
    """Wait until no more waits for the client than may, and let others work. Answered with None."""

    outbox: Outbox


Need = VerifySecret | HashSecret | Pause | Turn | Drain
Answer = bool | str | None
Steps = Generator[Need, Answer, Result]
"""A running command: its steps to a result."""

Suspension = Generator[Need, Answer, None]
"""A running command: its steps to a reply, driven by the session's owner. `next` yields its first need."""


class Credentials(Protocol):
    """The cache of verified secrets: a correct password costs microseconds after its first use."""

    @property
    def hash_limit(self) -> HashLimit:
        """The highest cost of a hash that is checked."""

    def is_verified(self, hash_text: str, secret: str, attempt: Attempt | None) -> bool:
        """True if `secret` has been verified against (or hashed to) `hash_text` in this process.

        Also False if the client must not learn it so soon; then the secret is verified again.
        """
