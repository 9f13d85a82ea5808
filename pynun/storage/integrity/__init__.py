"""Check a data file, page by page and entry by entry."""
