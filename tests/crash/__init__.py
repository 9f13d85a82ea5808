"""What is left after the server was killed in the middle of its work."""
