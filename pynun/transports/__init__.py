"""Convert bytes to command texts and messages to bytes, one folder for each transport."""
