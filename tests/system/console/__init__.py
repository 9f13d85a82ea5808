"""Tests of `nun-db demo`: the command, its page server, and the page in real browsers."""
