"""Databases, sessions, permissions, watches, versions and conflicts: pure and deterministic, no input or output."""
