"""Who is logged in to the web console: a random token in a cookie stands for a login, in memory only.

A login ends with its time, when nobody uses it, when somebody ends it, and with the password or token that it was made
with: each use compares the stored hash with that of the login.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.database import Database
    from pynun.engine.engine import Engine
    from pynun.engine.permissions import Secret
    from pynun.engine.session import Session

    _Identity = tuple[str | None, Database | None, str]


class Login:
    """One login: as an administrator, or as a user of a database."""

    __slots__ = ("admin", "admin_hash", "began", "connections", "database", "is_ended", "secret", "used", "user")

    def __init__(self, session: Session, now: float) -> None:
        """What `session` has become by `auth` or `use-db`."""
        self.admin = session.admin_name if session.is_admin and session.admin_hashes else None
        """The administrator's name; None for a user of a database."""
        self.admin_hash = session.admin_hashes[-1] if self.admin is not None else ""
        self.database: Database | None = session.database
        self.user = session.user
        self.secret: Secret | None = session.secret
        self.began = self.used = now
        self.is_ended = False
        self.connections: set[Callable[[], object]] = set()
        """Ends each of its WebSocket connections."""

    @property
    def identity(self) -> _Identity:
        """Who has logged in."""
        return self.admin, self.database, self.user

    def is_valid(self, engine: Engine) -> bool:
        """Whether the password or token that it was made with still is one."""
        if self.admin is not None:
            return engine.administrator_hash(self.admin) == self.admin_hash
        database, secret = self.database, self.secret
        if database is None or secret is None or engine.find_database(database.name) is not database:
            return False
        entry = engine.keyspace.read(database, secret.key)
        return entry is not None and entry.text == secret.hash

    def enter(self, session: Session) -> None:
        """Make a new session what the login is; only while it is valid."""
        if self.admin is not None:
            session.become_admin(self.admin, self.admin_hash)
        elif self.database is not None:
            session.select(self.database, self.user, self.secret)


class Logins:
    """All logins, by the hash of their token: the tokens themselves are kept nowhere."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        """`clock` returns seconds since any fixed time."""
        self._engine = engine
        self._clock = clock
        self._by_token: dict[bytes, Login] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def begin(self, session: Session) -> str:
        """Make a login of what a session has become; returns its token.

        The user who has most loses the one unused for longest: so a user can't log the administrators out.
        """
        self.sweep()
        made = Login(session, self._clock())
        if len(self._by_token) >= limits.CONSOLE_LOGINS_MAX:
            counts = Counter(login.identity for login in (*self._by_token.values(), made))
            self._end(min(self._by_token, key=lambda token: self._rank(self._by_token[token], counts)))
        token = secrets.token_urlsafe(32)
        self._by_token[_digest(token)] = made
        return token

    def find(self, token: str) -> Login | None:
        """The login of a token; None if it has ended."""
        digest = _digest(token)
        login = self._by_token.get(digest)
        if login is None:
            return None
        if self._is_over(login):
            self._end(digest)
            return None
        return login

    def touch(self, login: Login) -> None:
        """Note that a person uses it."""
        login.used = self._clock()

    def end(self, login: Login) -> None:
        """End a login and its connections. Safe to call twice."""
        for digest, one in list(self._by_token.items()):
            if one is login:
                self._end(digest)

    def sweep(self) -> None:
        """End the logins whose time is over, or whose password or token is no longer valid."""
        for digest, login in list(self._by_token.items()):
            if self._is_over(login):
                self._end(digest)

    def seconds_left(self, login: Login) -> float:
        """How long it lasts, if nobody uses it."""
        now = self._clock()
        return min(login.used + limits.CONSOLE_IDLE_SECONDS - now, login.began + limits.CONSOLE_LOGIN_SECONDS_MAX - now)

    def _is_over(self, login: Login) -> bool:
        return self.seconds_left(login) <= 0 or not login.is_valid(self._engine)

    @staticmethod
    def _rank(login: Login, counts: Counter[_Identity]) -> tuple[int, float]:
        return -counts[login.identity], login.used

    def _end(self, digest: bytes) -> None:
        login = self._by_token.pop(digest)
        login.is_ended = True
        for end in list(login.connections):
            end()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
