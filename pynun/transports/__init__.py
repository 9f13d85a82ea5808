"""Bytes to command texts and messages to bytes, one module for each transport."""
