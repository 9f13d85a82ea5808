"""The exceptions that cross layers of the program: trouble that a person has to read, one line each."""


class PynunError(Exception):
    """Base of every error of the program's own; its text is one line, complete for a person to act on."""


class StartError(PynunError):
    """The server can't start or go on (port taken, folder not writable, a newer data format): exit 1."""


class FolderInUseError(StartError):
    """A server has the data folder."""


class SettingsError(PynunError):
    """A setting is missing or its value is not accepted: one line that names it and what is accepted."""


class StorageError(PynunError):
    """The data file could not take a change, and is as it was before; the text says why, for the client."""


class MapFullError(StorageError):
    """The memory map is full: it has to grow before the change can be tried again."""


class ReopenError(StorageError):
    """LMDB can't go on after a failed write: the data file has to be opened again."""


class TakenAwayError(StorageError):
    """The data file that is open is not in the data folder any more: what is written to it would be lost."""


class DamageError(PynunError):
    """The data file may be damaged, or its state is unknown: the server must stop. The text says what was met."""


class BackupError(PynunError):
    """A backup can't be made, is not whole, or can't be restored."""


class NoBackupError(BackupError):
    """There is no such backup, or it was removed meanwhile."""


class TransferError(PynunError):
    """Data can't be imported or exported; what was there is as it was."""


def is_damage(error: Exception) -> bool:
    """Whether every failure in the group is a damaged data file."""
    return isinstance(error, DamageError) or (isinstance(error, ExceptionGroup) and error.split(DamageError)[1] is None)
