"""The benchmark: `scripts/bench` starts servers as users do, drives them from separate processes and prints one table.

`scenarios` says what is measured and what is to be reached, `servers` starts what is compared, `measure` runs loads
(`load`, `crowd`: processes of their own without trio) against one server, `runs` repeats and interleaves, `scale`
measures how things grow, `report` prints. `baseline` and `raw_limit` are servers to compare with.
"""
