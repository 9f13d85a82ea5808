"""What the commands that ask a running server share."""
