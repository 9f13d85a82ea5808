"""The fuzzer behind scripts/fuzz: finds inputs that break the invariants of tests/fuzz."""
