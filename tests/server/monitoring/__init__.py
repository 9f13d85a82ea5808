"""Tests of pynun/server/monitoring."""
