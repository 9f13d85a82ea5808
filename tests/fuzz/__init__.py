"""Fuzzing: what reads bytes of strangers, fed with any bytes.

A target is a function of bytes in `targets.TARGETS` that raises when its invariant does not hold. `scripts/fuzz` looks
for such bytes, guided by what they make the code do; `corpus/TARGET/` holds the inputs that it found to be different
from each other, and what real clients send, and runs with the other tests, without the fuzzer.
"""
