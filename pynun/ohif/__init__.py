"""The extension that joins OHIF viewers in a room: its files, which run in the viewer, and how they are handed out."""
