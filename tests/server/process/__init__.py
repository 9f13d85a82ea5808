"""Tests of pynun/server/process."""
