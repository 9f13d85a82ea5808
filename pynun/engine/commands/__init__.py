"""The commands: one table of rows, and handlers by theme."""
