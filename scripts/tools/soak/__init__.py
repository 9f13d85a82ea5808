"""The long run: a real server under load, living long and killed often, with nothing lost and nothing growing."""
