"""Passwords are checked here, and guessers slowed down."""
