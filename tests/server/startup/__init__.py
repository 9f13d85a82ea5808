"""Tests of pynun/server/startup."""
