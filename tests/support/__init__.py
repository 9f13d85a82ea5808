"""Helpers of the tests: real server processes, exact clients, and the player of recorded conversations."""
