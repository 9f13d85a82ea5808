"""Tests of the nun-db command: real processes, against a peer that answers what a test wants and the real server."""
