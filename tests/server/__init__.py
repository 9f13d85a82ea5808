"""Starting, stopping, restarting and refusing: the server as a process."""
