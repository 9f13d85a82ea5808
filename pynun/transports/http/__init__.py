"""HTTP: requests whose bodies are commands, and the pages of the server."""
