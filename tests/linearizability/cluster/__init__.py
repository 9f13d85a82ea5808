"""Histories of clients of three nodes, each on a machine of its own with a member of etcd, while these fail."""
