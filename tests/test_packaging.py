"""The package as it is built and set up, and the checks that every file must pass."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.prefix) / "bin"
CONSTRAINTS = sorted((ROOT / "constraints").glob("*.txt"))


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def must(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leash_setup", ROOT / "scripts" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What every file must pass.


def test_ruff_finds_nothing() -> None:
    must(run(BIN / "ruff", "check", "."))


def test_ruff_would_reformat_nothing() -> None:
    must(run(BIN / "ruff", "format", "--check", "."))


def test_mypy_finds_nothing() -> None:
    must(run(BIN / "mypy"))


# The package.


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """Weights, templates and configs are package data, and a missing pattern shows only after `pip install`."""
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "leash_ray", source / "leash_ray", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    wheel = tmp_path / must(run(sys.executable, "-c", build, cwd=source)).splitlines()[-1]
    packed = set(zipfile.ZipFile(wheel).namelist())
    there = {p.relative_to(source).as_posix() for p in (source / "leash_ray").rglob("*") if p.is_file()}
    assert there - packed == set()
    entry_points = next(n for n in packed if n.endswith("entry_points.txt"))
    assert "leash = leash_ray.cli:main" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_what_is_imported_is_declared(project: dict[str, object]) -> None:
    """Every third-party module that the package imports comes with it."""
    declared = {requirement_name(r) for r in project["dependencies"]} | {"torch", "vllm"}  # type: ignore[attr-defined]
    provided_by = {"yaml": "pyyaml", "vl_convert": "vl-convert-python"}
    # Dependencies of what is declared, which cannot be there without it.
    through = {"fastapi": "ray", "starlette": "ray", "pandas": "ray", "filelock": "ray"}
    through |= {"markupsafe": "jinja2", "tokenizers": "transformers"}
    undeclared = {}
    for path in (ROOT / "leash_ray").rglob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            known = name in sys.stdlib_module_names or name == "leash_ray"
            if known or importlib.util.find_spec(name) is None:  # words of a docstring are no modules
                continue
            package = provided_by.get(name, name.replace("_", "-"))
            if package not in declared and through.get(name) not in declared:
                undeclared[name] = path.relative_to(ROOT).as_posix()
    assert undeclared == {}


def test_the_version_is_the_packages(project: dict[str, object]) -> None:
    import leash_ray

    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", leash_ray.__version__)


def test_license_is_the_standard_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


# Constraints.


def requirement_name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {requirement_name(line): line.split("==", 1)[1] for line in lines}


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda p: p.name)
def test_constraints_are_exact_versions_and_nothing_else(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


@pytest.mark.parametrize(("name", "extra"), [("cpu", "cpu"), ("gpu", "gpu")])
def test_constraints_pin_what_is_declared_within_its_range(project: dict[str, object], name: str, extra: str) -> None:
    from packaging.requirements import Requirement

    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    pinned = pins(ROOT / "constraints" / f"{name}.txt")
    for text in [*project["dependencies"], *optional[extra], *optional["dev"]]:  # type: ignore[misc]
        requirement = Requirement(text)
        version = pinned[requirement_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{text} but {version}"


def test_cpu_constraints_bring_no_cuda() -> None:
    names = pins(ROOT / "constraints" / "cpu.txt")
    assert [n for n in names if n.startswith(("nvidia-", "torchvision", "torchaudio", "torchcodec", "cuda-"))] == []
    assert names["torch"] == "2.13.0"


# scripts/setup.py, without the network.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads, in a place of its own."""
    place = tmp_path / "checkout"
    place.mkdir()
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, place)
    for name in ("scripts", "constraints"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def fake_venv(place: Path, pip: str, report: str = '{"torch": "2.13.0+cpu"}') -> Path:
    """A .venv whose Python is a script: ``pip`` is the shell code that answers for pip."""
    python = place / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '  *"sys.version_info"*) echo 3 11;;\n'
        f"  *importlib.metadata*) echo '{report}';;\n"
        f'  *) echo "$@" >> "{place}/calls"; {pip};;\n'
        "esac\n"
    )
    python.chmod(0o755)
    return place


def calls(place: Path) -> list[str]:
    path = place / "calls"
    return path.read_text().splitlines() if path.exists() else []


def setup(place: Path) -> subprocess.CompletedProcess[str]:
    return run("make", "--no-print-directory", "setup", "KIND=cpu", f"PYTHON={sys.executable}", cwd=place)


def test_setup_installs_torch_first_and_has_nothing_to_do_the_second_time(checkout: Path) -> None:
    fake_venv(checkout, "true")
    first = must(setup(checkout))
    assert first.count("\n") == 5
    torch, packages = calls(checkout)
    assert "torch==2.13.0+cpu" in torch
    assert f"-c {checkout}/constraints/cpu.txt -e {checkout}[cpu,dev]" in packages

    start = time.monotonic()
    assert must(setup(checkout)) == ""
    assert time.monotonic() - start < 1
    assert len(calls(checkout)) == 2


def test_setup_asks_uv_where_pip_has_no_cpu_build(checkout: Path) -> None:
    fake_venv(checkout, 'case "$*" in *+cpu) exit 1;; esac')
    must(setup(checkout))
    assert [c for c in calls(checkout) if "uv pip install" in c and "--torch-backend cpu torch==2.13.0" in c]


def test_setup_says_which_package_failed_and_goes_on_from_there(checkout: Path) -> None:
    fail = "echo 'ERROR: No matching distribution found for polars==99' ; exit 1"
    fake_venv(checkout, f'case "$*" in *-e*) {fail};; esac')
    done = setup(checkout)
    assert done.returncode != 0
    assert "installing polars==99 failed" in done.stdout
    assert "pip config list" in done.stdout
    assert ".venv/setup.log" in done.stdout

    shutil.rmtree(checkout / ".venv" / "bin")
    fake_venv(checkout, "true")
    assert "CPU (about half a minute): done before" in must(setup(checkout))


def test_setup_runs_again_when_a_requirement_changes_but_not_for_a_lint_rule(checkout: Path) -> None:
    fake_venv(checkout, "true")
    must(setup(checkout))
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("line-length = 120", "line-length = 110"))
    must(setup(checkout))
    assert len(calls(checkout)) == 2
    pyproject.write_text(pyproject.read_text().replace('"jinja2>=3.1,<4"', '"jinja2>=3.0,<4"'))
    must(setup(checkout))
    assert len(calls(checkout)) == 3


def test_setup_removes_what_breaks_a_cpu_torch(checkout: Path) -> None:
    fake_venv(checkout, "true", report='{"torch": "2.13.0+cpu", "torchvision": "0.28.0"}')
    done = setup(checkout)
    assert any("pip uninstall -y torchvision" in c for c in calls(checkout))
    assert done.returncode != 0  # the script's pip removed nothing, and that is found out
    assert "Delete .venv" in done.stdout


def test_setup_refuses_an_environment_that_was_moved(checkout: Path) -> None:
    fake_venv(checkout, "true")
    must(setup(checkout))
    moved = checkout.with_name("moved")
    shutil.move(checkout, moved)
    done = setup(moved)
    assert done.returncode != 0
    assert "delete it and run again" in done.stdout


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Collecting ray\nERROR: OSError: [Errno 28] No space left on device", "ray failed: the disk is full"),
        ("ERROR: Failed building wheel for zss", "zss failed: it had to be compiled"),
        ("Collecting wandb\nERROR: HTTPSConnectionPool: Max retries exceeded", "wandb failed: a source could not"),
        ("error: Request failed\n  cause: dns error", "the packages failed: a source could not be reached"),
        ("something else", "the end of the log says why"),
    ],
)
def test_setup_explains_what_pip_said(setup_script: ModuleType, output: str, said: str) -> None:
    text = setup_script.explain(output, "LOG")
    assert said in text
    assert "LOG" in text


def test_setup_needs_a_python_that_fits(setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_script.sys, "version_info", (3, 9, 1, "final", 0))
    monkeypatch.setattr(setup_script.shutil, "which", lambda name: None)
    with pytest.raises(setup_script.SetupError, match=r"needs Python 3\.11 or 3\.12, and `python3` is 3\.9"):
        setup_script.check_python()


def test_setup_needs_room_and_a_compiler(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    venv = str(tmp_path / ".venv")
    monkeypatch.delenv("CXX", raising=False)
    with monkeypatch.context() as m:
        m.setattr(setup_script, "FREE_GB", {"cpu": 1e9})
        with pytest.raises(setup_script.SetupError, match="GB free"):
            setup_script.check_machine("cpu", venv, fresh=True)
    monkeypatch.setattr(setup_script.shutil, "which", lambda name: None)
    with pytest.raises(setup_script.SetupError, match=r"apt install g\+\+"):
        setup_script.check_machine("cpu", venv, fresh=False)


def test_make_alone_lists_the_targets() -> None:
    listed = must(run("make"))
    for target in ("setup", "demo", "test", "lint", "clean"):
        assert re.search(rf"^  {target}\s+\S", listed, re.MULTILINE), target


def test_ci_runs_make_test() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    # -n: print the commands and run none of them.
    assert "pytest -m" in must(run(ROOT / ".ci" / "run", "-n", cwd=Path("/")))
