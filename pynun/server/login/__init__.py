"""Check passwords and throttle guessing."""
