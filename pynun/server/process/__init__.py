"""The process: its user, its memory, its log."""
