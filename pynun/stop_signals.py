"""The signals that stop a server, handled from the first instruction of the program on.

Process 1 of a container never gets a signal that it has no handler for: the kernel drops it, and `docker stop` waits
and kills. So handlers are set before anything else is imported. Until then the signals are blocked where this program
was started by scripts/run or in the image, and a blocked signal waits (Linux, kernel/signal.c, sig_ignored).

A server that is starting goes through two phases. First a signal raises Stopped, wherever the start is. Once threads
and trio's loop work on the data (`note_from_now_on`), it is noted, and looked at where the work can end (`check`).
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # typing takes time to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

OPTIONS_WITH_VALUE: Final = frozenset(
    {"-u", "--user", "-p", "--pwd", "--pwd-file", "-h", "--host", "--ca", "--profile"}
)
"""Those of the command line that stand before the command."""

_SIGNAL_EXIT_CODE: Final = 128
"""Plus its number: what shells give for a program that a signal ended."""

_received: int | None = None
_is_raised = True
_is_hung_up = False


class Stopped(SystemExit):
    """A signal ended the start of a server. Nothing has failed: exit code 0."""

    def __init__(self, number: int) -> None:
        super().__init__(0)
        self.name = signal.Signals(number).name


def prepare(arguments: Sequence[str]) -> None:
    """Handle the signals of the command that these arguments name, and let those come that were blocked until now."""
    if _command(arguments) == "start":
        begin()
        signal.signal(signal.SIGHUP, _note_hang_up)
    elif os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOPPING, signal.SIGHUP))


def begin() -> None:
    """A server starts: from now on a signal to stop ends the start."""
    sys.unraisablehook = _report_unraisable
    for number in STOPPING:
        signal.signal(number, _stop)


def note_from_now_on() -> None:
    """From now on a signal to stop is only noted. Raises Stopped if there was one."""
    global _is_raised
    _is_raised = False
    check()


def note(number: int) -> None:
    """A signal to stop was received in another way."""
    global _received
    _received = number


def is_received() -> bool:
    """Whether there was a signal to stop, as far as it was noted."""
    return _received is not None


def is_ending_start() -> bool:
    """Whether Stopped was raised: another error since then is what Python made of it, as it does in `__set_name__`."""
    return _is_raised and is_received()


def check() -> None:
    """Raises Stopped if there was a signal to stop. May be called in any thread."""
    if _received is not None:
        raise Stopped(_received)


def take_hang_up() -> bool:
    """Whether SIGHUP was received during the start; False from then on."""
    global _is_hung_up
    was_hung_up, _is_hung_up = _is_hung_up, False
    return was_hung_up


def _stop(number: int, _frame: FrameType | None) -> None:
    note(number)
    if _is_raised:
        raise Stopped(number)


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Stopped that Python may not raise where it is, in a finalizer, is noted, and raised at the next `check`."""
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)


def _note_hang_up(_number: int, _frame: FrameType | None) -> None:
    global _is_hung_up
    _is_hung_up = True


def _end(number: int, _frame: FrameType | None) -> None:
    """What the kernel does to any process but the first."""
    os._exit(_SIGNAL_EXIT_CODE + number)


def _command(arguments: Sequence[str]) -> str:
    """The command among the arguments of the program; "" for none."""
    words = iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""
