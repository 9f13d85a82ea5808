"""The engine, the committer's steps and the outboxes under one seed, with crashes wherever there can be one."""
