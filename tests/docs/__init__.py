"""The documentation is true: its examples run, its links resolve, its generated pages and its lists are complete."""
