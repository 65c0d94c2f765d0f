"""Reduce a folder on two Ray nodes of one core each, again while a worker is killed, and again while a node is; prints
one JSON object.

Run as a script: it has a cluster of its own. ``exchanged_bytes`` are the states that tasks hand over:
no more than those cross from node to node.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
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
    n_killed: list[int] = []

    class Exchanged(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert isinstance(record.args, tuple)
            exchanged.extend(record.args)  # type: ignore[arg-type]

    def kill_worker() -> None:
        until = time.monotonic() + 30
        while not n_killed and time.monotonic() < until:
            for process in psutil.process_iter(["cmdline"]):
                if "ray::_partial" in " ".join(process.info["cmdline"] or ()):
                    with contextlib.suppress(psutil.Error):
                        if process.environ().get(_MARK) == mark:
                            process.kill()
                            n_killed.append(1)
                            break

    def timed() -> tuple[list[str], float]:
        started = time.perf_counter()
        return differences(reduced(folder, parallel=True), expected), time.perf_counter() - started

    log = logging.getLogger(engine.__name__)
    log.setLevel(logging.DEBUG)
    log.addHandler(Exchanged())
    both, first_s = timed()
    exchanged_bytes = sum(exchanged)
    _, again_s = timed()
    killer = threading.Thread(target=kill_worker)
    killer.start()
    without_worker, _ = timed()
    killer.join()
    timer = threading.Timer(again_s / 2, lambda: cluster.remove_node(second, allow_graceful=False))
    timer.start()
    without, killed_s = timed()
    timer.join()
    until = time.monotonic() + 60
    while (nodes := sum(node["Alive"] for node in ray.nodes())) > 1 and time.monotonic() < until:
        time.sleep(0.2)  # it is noticed a while after
    ray.shutdown()
    cluster.shutdown()
    return {
        "differences": both,
        "seconds": first_s,
        "seconds_again": again_s,
        "exchanged_bytes": exchanged_bytes,
        "rows_bytes": sum(f.stat().st_size for f in Path(folder).glob("*.parquet")),
        "workers_killed": n_killed,
        "differences_after_a_worker_was_killed": without_worker,
        "differences_after_a_node_was_killed": without,
        "seconds_with_a_node_killed": killed_s,
        "nodes_left": nodes,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
