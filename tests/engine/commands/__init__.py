"""One file for each theme of commands, and one that asks every row of the table for its answers."""
