"""What the scripts of these tests report arrives whole, however slowly it is read."""

from __future__ import annotations

import json
import select
import subprocess
import time
from typing import TYPE_CHECKING

from tests.support.node import TESTS
from tests.system.javascript.conftest import SCRIPTS

if TYPE_CHECKING:
    from tests.system.javascript.conftest import Runtime

CHARACTERS = 1_000_000
READ_SECONDS_MAX = 60.0


def test_a_large_report_is_not_cut_off(runtime: Runtime) -> None:
    script = SCRIPTS / "large.js"
    options: dict[str, object] = {"characters": CHARACTERS}
    if runtime.endpoint is not None:
        options |= {"chromium": runtime.endpoint, "script": "large.js"}
        script = TESTS / "system" / "browser" / "in_chromium.js"
    with subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(options) + "\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], READ_SECONDS_MAX)[0]
        time.sleep(0.5)  # a reader that is not quick: the script ends meanwhile if nothing keeps it
        report = json.loads(process.stdout.readline())
    assert (report["event"], len(report["result"])) == ("done", CHARACTERS)
