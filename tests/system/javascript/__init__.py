"""The public JavaScript client, unmodified, in Node.js."""
