"""Databases, sessions, permissions, watches, versions and conflicts: pure and deterministic, without I/O."""
