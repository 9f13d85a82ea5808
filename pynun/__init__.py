"""pynun: a real-time key-value server, a drop-in replacement for Nun-db, and its client.

Importing the package must stay cheap, for `nun-db exec` starts in a fraction of a second: nothing is imported here.
"""

__version__ = "0.1.0"
