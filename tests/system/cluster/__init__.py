"""The cluster on a real etcd."""
