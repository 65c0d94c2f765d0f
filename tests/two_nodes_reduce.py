"""Reduce a folder on two Ray nodes of one core each, again while a worker is killed, and again while a node is; prints
one JSON object.

Run as a script: it has a cluster of its own. ``exchanged_bytes`` are the states that tasks hand over, wherever they
ran.
"""

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from leash_ray.reduce import Reading, engine, reduced_parts
from leash_ray.reducers.reduced import Reduced, differences, joined

_MARK = "LEASH_TWO_NODES"


def reduced(folder: str, parallel: bool) -> Reduced:
    return joined(list(reduced_parts([folder], Reading(), parallel=parallel, from_rows=True)))


def main(folder: str) -> dict[str, Any]:
    expected = reduced(folder, parallel=False)
    os.environ[_MARK] = mark = str(os.getpid())  # what this cluster's processes are known by
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 512 << 20})
    second = cluster.add_node(num_cpus=1, object_store_memory=512 << 20)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    exchanged: list[int] = []
    killers: list[threading.Thread] = []
    n_killed: list[int] = []
    read_state = engine._state

    def counted(row: dict[str, Any]) -> Any:
        exchanged.append(len(row["state"]))
        return read_state(row)

    def killing(row: dict[str, Any]) -> Any:
        if not killers:  # one task is done, the others are not
            killers.append(threading.Thread(target=lambda: cluster.remove_node(second, allow_graceful=False)))
            killers[0].start()
        return read_state(row)

    def kill_worker() -> None:
        until = time.monotonic() + 30
        while not n_killed and time.monotonic() < until:
            for process in psutil.process_iter(["cmdline"]):
                if "MapBatches(_partial)" in " ".join(process.info["cmdline"] or ()):
                    with contextlib.suppress(psutil.Error):
                        if process.environ().get(_MARK) == mark:
                            process.kill()
                            n_killed.append(1)
                            break

    def timed() -> tuple[list[str], float]:
        started = time.perf_counter()
        return differences(reduced(folder, parallel=True), expected), time.perf_counter() - started

    engine._state = counted
    both, first_s = timed()
    exchanged_bytes = sum(exchanged)
    _, again_s = timed()
    killer = threading.Thread(target=kill_worker)
    killer.start()
    without_worker, _ = timed()
    killer.join()
    engine._state = killing
    without, killed_s = timed()
    killers.pop().join()
    nodes = sum(node["Alive"] for node in ray.nodes())
    ray.shutdown()
    cluster.shutdown()
    return {
        "differences": both,
        "seconds": first_s,
        "seconds_again": again_s,
        "exchanged_bytes": exchanged_bytes,
        "workers_killed": n_killed,
        "differences_after_a_worker_was_killed": without_worker,
        "differences_after_a_node_was_killed": without,
        "seconds_with_a_node_killed": killed_s,
        "nodes_left": nodes,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
