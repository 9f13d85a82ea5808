"""Tests of pynun/server/console."""
