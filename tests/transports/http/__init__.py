"""Tests of pynun/transports/http."""
