"""The write-ahead log: files beside the data that take one write and one sync per batch. Knows nothing of LMDB."""
