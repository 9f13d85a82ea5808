"""pynun: a real-time key-value server, a drop-in replacement for Nun-db, and its client.

Importing the package must stay cheap, for `nun-db exec` starts in a fraction of a second: nothing is imported here
until it is asked for. `pynun.client` and its three clients are there without a further import.
"""

TYPE_CHECKING = False  # type checkers take it for true; the real one would import typing
if TYPE_CHECKING:
    from pynun import client
    from pynun.client import AsyncioClient, Client, SyncClient

__all__ = ["AsyncioClient", "Client", "SyncClient", "__version__", "client"]

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    """Import what is asked for the first time."""
    if name not in ("AsyncioClient", "Client", "SyncClient", "client"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module("pynun.client")
    return module if name == "client" else getattr(module, name)
