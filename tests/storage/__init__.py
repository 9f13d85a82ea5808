"""Tests of pynun/storage: one suite for every store, the LMDB file, and the committer."""
