"""The process: user, memory and log."""
