"""Real server processes, exact clients and load: what the tests, the soak and the fuzzer drive servers with."""
