"""Backups: make them beside a running server, verify, keep and restore them."""
