"""What RFC 6455 asks of a server, byte by byte, and the public test suite for it."""
