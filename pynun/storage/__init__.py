"""The data on disk: the only importer of lmdb."""
