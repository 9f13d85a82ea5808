"""The public JavaScript clients, unmodified, in a real browser."""
