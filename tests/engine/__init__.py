"""Tests of pynun/engine without a socket, a file or a clock."""
