"""Backups: made beside a running server, verified, kept in a folder, restored."""
