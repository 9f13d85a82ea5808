"""Tests of pynun/transports on real sockets of this process."""
