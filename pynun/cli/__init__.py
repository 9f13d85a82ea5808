"""The nun-db command. `main` is its entry; each command's module is imported only when that command runs."""
