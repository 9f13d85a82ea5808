"""etcd at a pinned version, built with Go, and clusters of it for tests."""
