"""Several nodes on one etcd: one of them owns the engine, all have the data, each takes clients."""
