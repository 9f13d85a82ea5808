"""Files: open regular files only, and give a file its name only when it is complete."""
