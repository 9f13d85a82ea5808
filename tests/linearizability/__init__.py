"""Histories of concurrent clients, and whether each could have happened one command after another."""
