"""Files as such: one that is opened only if it is a regular file, and one that has its name only when it is whole."""
