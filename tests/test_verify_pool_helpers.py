"""Verifiers for tests of the pool, reached as python:test_verify_pool_helpers:<name>."""

import os
import signal
import time


def is_equal(answer: str, reference: str) -> bool:
    return answer == reference


def misbehaves(answer: str, reference: str) -> bool:
    if answer == "hang":
        time.sleep(3600)
    if answer == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if answer == "raise":
        raise RuntimeError("no such luck")
    return answer == reference


def says_its_pid(answer: str, reference: str) -> bool:
    with open(reference, "a", encoding="utf-8") as f:
        f.write(f"{answer} {os.getpid()}\n")
    time.sleep(1.0 if answer == "slow" else 0.0)
    return True
