"""What the commands that work on a data folder without a server share."""
