"""The public clients in languages other than JavaScript, or what they say on the wire."""
