"""Command texts in, message texts out: pure functions, no input or output, no trio, no state."""
