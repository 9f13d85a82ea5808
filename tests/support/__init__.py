"""Helpers of the tests: the player of recorded conversations, what reads traces, browsers, certificates."""
