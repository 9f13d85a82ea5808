"""Coming from the original, and moving single databases."""
