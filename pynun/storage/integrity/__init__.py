"""Whether a data file is whole, looked at page by page and entry by entry."""
