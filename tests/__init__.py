"""The tests of pynun; shared helpers live in tests/support, and those that scripts use too in scripts/tools/clients."""
