"""Access to etcd 3.6 through its JSON gateway (HTTP/1.1)."""
