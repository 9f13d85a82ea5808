"""TCP: one line is one command."""
