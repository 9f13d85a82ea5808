"""How long the properties are looked for.

By default in a fixed, repeatable run of a quarter of their usual examples; with the profile `thorough`, which
`scripts/test --all` chooses, of all of them. With NUN_TEST_EFFORT=N every property gets N times its usual examples, at
random; a failure is then printed with the blob that repeats it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_FACTOR = int(os.environ.get("NUN_TEST_EFFORT", "0"))
_PERCENT = {"quick": 25, "thorough": 100}


def register_profiles() -> None:
    """Make the profiles known, and take the quick one unless pytest is told of another."""
    for name, percent in _PERCENT.items():
        settings.register_profile(name, _settings(percent))
    settings.load_profile("quick")


def effort(examples: int, steps: int = 50) -> settings:
    """Settings for a property that usually gets so many examples (of so many steps, if it is a state machine)."""
    percent = _PERCENT[settings.get_current_profile_name()]
    return _settings(max(examples * percent // 100, 1), examples * _FACTOR, steps)


def _settings(examples: int, at_random: int = 0, steps: int = 50) -> settings:
    return settings(
        max_examples=at_random or examples,
        stateful_step_count=steps,
        derandomize=not _FACTOR,
        database=None,
        deadline=None,  # a loaded machine is no failure; every test has an absolute limit
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
