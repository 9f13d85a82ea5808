"""The web console: pages for administrators on the HTTP port (docs/console.md)."""
