"""``leash sample`` with processes killed, a node lost and the disk full, in mid-run: what benchmarks/faults.py does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "faults.py"
LIMIT_S = 180
"""A replica has to start again in most cases: tens of seconds on two cores."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(SCRIPT), "--quick", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["faults"]


@pytest.mark.parametrize("fault", ["verifier", "worker", "engine", "replica", "node", "driver", "disk"])
def test_a_fault_costs_time_and_no_completion(found: dict[str, Any], fault: str) -> None:
    one = found[fault]
    assert one["times"] == 1
    assert one["keys_equal"] and one["texts_equal"] and not one["dead_letters"]
    assert one["lost_s"][0] < LIMIT_S
    assert all(orphans_s < 60 for orphans_s in one.get("orphans_s", []))
