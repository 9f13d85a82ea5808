"""Tests of pynun/language: texts, words, numbers and messages."""
