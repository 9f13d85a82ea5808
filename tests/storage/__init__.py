"""Tests of pynun/storage: one suite for every store, and the LMDB file."""
