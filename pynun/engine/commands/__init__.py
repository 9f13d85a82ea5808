"""The commands: one table of what each is, and handlers by theme that hold nothing but what it means."""
