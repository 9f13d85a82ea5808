"""The data on disk: LMDB, one transaction per batch, readers beside one writer. Synchronous, without tasks."""
