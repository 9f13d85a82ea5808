"""Where the server's time goes: a scenario against the server under cProfile.

cProfile counts each call and so makes calls look dearer than they are: read shares as an order, not as truth. It sees
the main thread, where the event loop runs; the thread that commits is not in it.
"""

from __future__ import annotations

import io
import pstats
from typing import TYPE_CHECKING

from benchmark import servers
from benchmark.measure import fill, measure
from benchmark.runs import new_folder

if TYPE_CHECKING:
    from benchmark.runs import Plan
    from benchmark.scenarios import Scenario

FUNCTIONS = 20


def profile_scenario(scenario: Scenario, durability: str, plan: Plan) -> str:
    """Run a scenario under the profiler; return its figures and the functions that took most time themselves."""
    with new_folder(plan.folder) as folder:
        path = folder / "profile"
        with servers.run_pynun(folder, durability, path) as server:
            fill(server, scenario.load.key_count)
            figures = measure(server, scenario.load, plan.timing)
        text = io.StringIO()
        pstats.Stats(str(path), stream=text).strip_dirs().sort_stats("tottime").print_stats(FUNCTIONS)
    return (
        f"{scenario.title}, {durability}, under the profiler: {figures.operations_per_second:,.0f} {scenario.unit}/s\n"
        + text.getvalue()[text.getvalue().find("   ncalls") :].rstrip()
    )
