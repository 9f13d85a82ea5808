"""The data on disk: LMDB, one batch a transaction, read while it is written. Synchronous: it knows no task."""
