"""Tests of the write-ahead log's files, most on a simulated disk."""
