"""How long the properties are looked for: a fixed, repeatable run by default, any length on request.

With NUN_TEST_EFFORT=N every property gets N times its usual examples, at random; a failure is then printed with the
blob that repeats it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_FACTOR = int(os.environ.get("NUN_TEST_EFFORT", "0"))


def effort(examples: int, steps: int = 50) -> settings:
    """Settings for a property that usually gets so many examples (of so many steps, if it is a state machine)."""
    return settings(
        max_examples=examples * max(_FACTOR, 1),
        stateful_step_count=steps,
        derandomize=not _FACTOR,
        database=None,
        deadline=None,  # a loaded machine is no failure; every test has an absolute limit
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
