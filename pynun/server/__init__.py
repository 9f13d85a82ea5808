"""One server: its listeners, tasks and passwords; starting and stopping."""
