"""How commands print: text that is safe to show, tables, numbers, and the standard streams."""
