"""Many entries at once, into a folder and out of it: single databases, and the files of the original."""
