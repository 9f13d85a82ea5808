"""Tests of pynun/storage/integrity."""
