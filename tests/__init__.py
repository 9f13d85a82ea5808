"""The tests of pynun; shared helpers live in tests/support."""
