"""Import and export whole databases, and import the files of the original Nun-db."""
