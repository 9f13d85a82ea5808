"""One file a command of nun-db: its options and what it does."""
