"""Tests of the source itself: layers, docstrings, sizes."""
