"""Tests of pynun/commit."""
