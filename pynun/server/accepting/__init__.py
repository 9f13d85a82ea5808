"""From a listening socket to a transport: limits, TLS, proxies."""
