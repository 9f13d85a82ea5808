"""The benchmark: `scripts/bench` starts servers as users do, drives them from separate processes and prints one table.

How the parts go together: `scenarios` says what is measured and what is to be reached, `servers` starts what is
compared, `measure` runs one load (`load`, a process of its own without trio) against one server, `runs` repeats and
interleaves, `report` prints. `baseline` and `raw_limit` are servers to compare with.

Importing this package must stay free: `load` starts many times.
"""
