"""The server behind real reverse proxies, configured as docs/proxies.md says."""
