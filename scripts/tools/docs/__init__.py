"""The documentation: the pages that follow from the code, and all of it as HTML."""
