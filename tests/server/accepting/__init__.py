"""Tests of pynun/server/accepting."""
