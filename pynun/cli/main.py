"""Entry of the nun-db command."""

from pynun import __version__


def main() -> None:
    """Run the command."""
    print(f"nun-db {__version__}")
