"""The demonstration: a server of its own, and a page that shows several people what real time means."""
