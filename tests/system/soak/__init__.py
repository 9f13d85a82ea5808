"""The long run, run short."""
