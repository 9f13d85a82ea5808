"""Tests of pynun/protocol: texts, words, numbers and messages."""
