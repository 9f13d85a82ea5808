"""Tests of pynun/server/login."""
