"""Output of commands: safe text, tables, numbers and the standard streams."""
