"""Tests of pynun/transports/websocket."""
