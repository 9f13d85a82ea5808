"""Recorded conversations, and many more, played on a running server over its three transports."""
