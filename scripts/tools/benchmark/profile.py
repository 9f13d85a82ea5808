"""Where the server's time goes: a scenario against the server under cProfile.

cProfile counts each call and so makes calls look dearer than they are: read shares as an order, not as truth. It sees
the main thread, where the event loop runs; the thread that commits is not in it. Start-up is in it, so measure long.
"""

from __future__ import annotations

import pstats
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tools.benchmark import servers
from tools.benchmark.measure import fill, measure
from tools.benchmark.runs import new_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tools.benchmark.runs import Plan
    from tools.benchmark.scenarios import Scenario

FUNCTIONS = 20
_WAITING = "<method 'poll' of 'select.epoll' objects>"


class _Function(NamedTuple):
    """What the profiler says of one function."""

    name: str
    calls: int
    own_seconds: float


def profile_scenario(scenario: Scenario, durability: str, plan: Plan) -> str:
    """Run a scenario under the profiler; return its figures and the functions that took most time themselves."""
    with new_folder(plan.folder) as folder:
        path = folder / "profile"
        with servers.run_pynun(folder, durability, path) as server:
            fill(server, scenario.load.key_count)
            figures = measure(server, scenario.load, plan.timing)
        functions = _read(path)
    busy_seconds = sum(function.own_seconds for function in functions)
    lines = [
        f"{scenario.title}, {durability}, under the profiler: {figures.operations_per_second:,.0f} {scenario.unit}/s,"
        f" {busy_seconds:.2f} s of work (waiting left out)",
        f"{'share':>6}  {'own µs/call':>11}  {'calls':>9}  function",
    ]
    lines += [
        f"{function.own_seconds / busy_seconds:6.1%}  {function.own_seconds / function.calls * 1e6:11.2f}"
        f"  {function.calls:9,}  {function.name}"
        for function in functions[:FUNCTIONS]
    ]
    return "\n".join(lines)


def _read(path: Path) -> list[_Function]:
    """All functions but waiting for the network, the dearest first."""
    stats = cast("Any", pstats.Stats(str(path))).stats  # an attribute that its type stub leaves out
    functions = [
        _Function(f"{PurePath(file).parent.name}/{PurePath(file).name}:{line} {name}" if line else name, calls, own)
        for (file, line, name), (_primitive_calls, calls, own, _total, _callers) in stats.items()
        if name != _WAITING
    ]
    return sorted(functions, key=lambda function: -function.own_seconds)
