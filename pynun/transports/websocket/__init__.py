"""WebSocket: one text frame holds one or more commands."""
