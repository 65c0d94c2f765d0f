"""Which runs are compared, as which recipes, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_made import BASE_MODEL, drawn, make, problem

from leash_ray.compare import Asked, compare_runs
from leash_ray.errors import UsageError

RNG = np.random.default_rng(0)
P = RNG.random(8)
BASE, OTHER = drawn(RNG, P, 8), drawn(RNG, P, 8)


@pytest.fixture(scope="module", autouse=True)
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What reducing the usual samples gives, which most runs here share."""
    _REDUCED["at"] = make(tmp_path_factory.mktemp("reduced") / "run", BASE, OTHER)
    yield
    _REDUCED.clear()


_REDUCED: dict[str, Path] = {}


def run(path: Path, **how: Any) -> Path:
    usual = how.get("reduce", True) and not {"base", "trained", "problems"} & set(how)
    made = make(
        path, how.pop("base", BASE), how.pop("trained", OTHER), reduce=how.pop("reduce", True) and not usual, **how
    )
    for name in ("support.json", "per_problem.parquet") if usual else ():
        shutil.copy(_REDUCED["at"] / name, made / name)
    return made


def names(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(r["name"], r["seeds"]) for r in found["recipes"]]


# Recipes.


def test_runs_that_differ_in_seeds_alone_are_one_recipe(tmp_path: Path) -> None:
    for name, lr in (("grpo", 1e-3), ("dapo", 2e-3)):
        for seed in (0, 1):
            data = {"kind": "jsonl", "path": "unused.jsonl"}
            run(tmp_path / f"{name}_s{seed}", seed=seed, train={"lr": lr, "task": data, "checkpoint_every": 5 + seed})
    found = compare_runs([tmp_path])
    assert names(found) == [("dapo", ["0", "1"]), ("grpo", ["0", "1"])]
    assert names(compare_runs([tmp_path], Asked(group_by="train.lr"))) == [
        ("lr=0.002", ["0", "1"]),
        ("lr=0.001", ["0", "1"]),
    ]
    assert [name for name, _ in names(compare_runs([tmp_path], Asked(group_by="run")))] == [
        "dapo_s0",
        "dapo_s1",
        "grpo_s0",
        "grpo_s1",
    ]


def test_recipes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    run(tmp_path / "demo-seed0", train={"lr": 1e-3})
    run(tmp_path / "demo-seed1", seed=1, train={"lr": 2e-3})
    assert [name for name, _ in names(compare_runs([tmp_path]))] == ["demo (lr=0.001)", "demo (lr=0.002)"]
    run(tmp_path / "other", train={"lr": 3e-3})
    found = compare_runs([tmp_path], Asked(group_by="name"))
    assert names(found) == [("demo", ["0", "1"]), ("other", ["0"])]
    assert any("demo holds runs whose train sections differ in lr" in c for c in found["cautions"])


def test_models_trained_elsewhere_are_grouped_by_name(tmp_path: Path) -> None:
    for name in ("grpo-seed1", "grpo-seed2", "sft"):
        run(tmp_path / name)
    assert names(compare_runs([tmp_path])) == [("grpo", ["1", "2"]), ("sft", ["sft"])]


def test_names_without_a_seed(tmp_path: Path) -> None:
    for name, seed, lr in (("try-a", 0, 1e-3), ("try-b", 1, 1e-3), ("big", 0, 2e-3)):
        run(tmp_path / name, seed=seed, train={"lr": lr}, config={"name": name})
    assert names(compare_runs([tmp_path])) == [("big", ["0"]), ("try", ["0", "1"])]


def test_one_seed_twice_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", train={"lr": 1e-3})
    run(tmp_path / "b", train={"lr": 1e-3})
    run(tmp_path / "c", train={"lr": 2e-3})
    with pytest.raises(UsageError, match=r"a and .*b are one recipe with one seed \(0\)"):
        compare_runs([tmp_path])


def test_seeds_of_training_alone(tmp_path: Path) -> None:
    for name, lr in (("x", 1e-3), ("y", 2e-3)):
        for seed in (0, 1, 2):
            run(tmp_path / f"{name}-seed{seed}", train={"lr": lr, "seed": seed})
    assert names(compare_runs([tmp_path])) == [("x", ["0", "1", "2"]), ("y", ["0", "1", "2"])]


def test_one_recipe_is_nothing_to_compare(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(tmp_path / f"a-seed{seed}", seed=seed, train={"lr": 1e-3})
    with pytest.raises(UsageError, match=r"all 2 runs are one recipe .* --group-by run"):
        compare_runs([tmp_path])
    with pytest.raises(UsageError, match=r"--group-by train.l: no run's config has this key"):
        compare_runs([tmp_path], Asked(group_by="train.l"))


# Which runs.


def test_folders_globs_and_runs_given_twice(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    (tmp_path / "notes.txt").write_text("no run")
    for paths in ([tmp_path], [f"{tmp_path}/*"], [a, b, tmp_path / "." / "a"]):
        assert [name for name, _ in names(compare_runs(paths))] == ["a", "b"]
    with pytest.raises(UsageError, match="1 run to compare: give two or more"):
        compare_runs([a, a])
    with pytest.raises(UsageError, match=r"aa does not exist: did you mean .*a"):
        compare_runs([a, tmp_path / "aa"])


def test_runs_that_are_not_reduced_are_named_with_their_command(tmp_path: Path) -> None:
    run(tmp_path / "a")
    b, c = run(tmp_path / "b", reduce=False), run(tmp_path / "c", reduce=False)
    (c / "completions" / "all.parquet").unlink()
    with pytest.raises(UsageError) as e:
        compare_runs([tmp_path])
    assert str(e.value).splitlines() == [
        "2 of 3 runs are not reduced yet:",
        f"  leash reduce {b}",
        f"  {c} has no completions: go on with it by the command that made it and --resume, or leave it out",
    ]


def test_a_table_that_does_not_fit_its_support_is_refused(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    support = json.loads((b / "support.json").read_text())
    support["support"]["problem"]["S"] += 1
    (b / "support.json").write_text(json.dumps(support))
    with pytest.raises(UsageError, match=r"do not agree.*leash reduce .*b"):
        compare_runs([a, b])


# What is fair.


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        ({"sampling.temperature": 0.6}, "sampling.temperature"),
        ({"sampling.max_tokens": 64}, "sampling.max_tokens"),
        ({"policies.base.model": "another"}, "base.model"),
        ({"policies.trained.prompting": {"format": "chat"}}, "trained.prompting.format"),
        ({"verify.timeout_s": 1.0}, "verify.timeout_s"),
        ({"measure.confidence": 0.9}, "measure.confidence"),
    ],
)
def test_a_difference_is_refused_by_name_and_may_be_allowed(
    tmp_path: Path, config: dict[str, Any], setting: str
) -> None:
    a, b, c = run(tmp_path / "a"), run(tmp_path / "b"), run(tmp_path / "c", config=config)
    with pytest.raises(UsageError) as e:
        compare_runs([a, b, c])
    lines = str(e.value).splitlines()
    assert len(lines) == 3 and lines[1].startswith(f"  {setting}: ")
    assert f"in {a} and 1 more, " in lines[1] and lines[1].endswith(f" in {c}")
    assert lines[2].endswith(f"--allow {setting}")
    found = compare_runs([a, b, c], Asked(allowed=(setting,)))
    assert list(found["allowed"]) == [setting]
    assert any(caution.startswith(f"a difference was allowed: {setting} is ") for caution in found["cautions"])
    assert list(compare_runs([a, b, c], Asked(allowed=(setting.split(".")[0],)))["allowed"]) == [setting]


def test_what_does_not_change_results_may_differ(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", config={"verify.workers": 3, "policies.base.replicas": 2, "sampling.in_flight": 4})
    assert compare_runs([a, b])["allowed"] == {}


def test_allowing_what_does_not_differ_is_refused(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", config={"sampling.top_p": 0.9})
    with pytest.raises(UsageError, match=r"--allow sampling.temp: the runs do not differ in it, but in sampling.top_p"):
        compare_runs([a, b], Asked(allowed=("sampling.temp",)))


def test_other_k_is_refused_or_measured_at_the_smaller(tmp_path: Path) -> None:
    short = {name: of[:4] for name, of in BASE.items()}, {name: of[:4] for name, of in OTHER.items()}
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", base=short[0], trained=short[1])
    with pytest.raises(UsageError, match=r"(?s)k: 8 in .*a, 4 in .*b\n--k 4 measures all at the first 4 samples"):
        compare_runs([a, b])
    with pytest.raises(UsageError, match=r"--k 8: .*b has no more than 4 samples .*; give --k 4"):
        compare_runs([a, b], Asked(k=8))
    found = compare_runs([a, b], Asked(k=4))
    one, other = found["recipes"]
    assert found["k"] == 4 and found["restricted"]["k"] == 4
    assert one["support"] == other["support"] and one["pass_at_k"] == other["pass_at_k"]  # the same samples
    assert one["answer_entropy"] == other["answer_entropy"]
    assert found["base"]["draws"] == 1
    assert any("only the first 4 samples" in caution for caution in found["cautions"])
    assert json.loads((a / "support.json").read_text())["k"] == 8  # the run keeps its own numbers
    shutil.rmtree(a / "completions")
    with pytest.raises(UsageError, match=r"a has no completions any more"):
        compare_runs([a, b], Asked(k=4))


def test_all_are_measured_at_one_k_where_a_verifier_failed(tmp_path: Path) -> None:
    failed = {**OTHER, "p002": OTHER["p002"][:2] + "!" + OTHER["p002"][3:]}
    a, b = run(tmp_path / "a"), run(tmp_path / "b", base=BASE, trained=failed)
    with pytest.raises(UsageError, match=r"(?s)k: 8 in .*a, 7 in .*b\n--k 7 "):
        compare_runs([a, b])
    for asked, k in ((7, 7), (4, 3), (2, 2)):  # of the first four, three were verified
        found = compare_runs([a, b], Asked(k=asked))
        one = compare_runs([run(tmp_path / f"a{asked}"), run(tmp_path / f"c{asked}")], Asked(k=k))
        assert found["k"] == k
        assert found["recipes"][0]["support"] == one["recipes"][0]["support"]


def test_sampling_that_stopped_early(tmp_path: Path) -> None:
    """p0 is decided after 2 samples, or 4; p1 never. Problems are known at k = 8, answers and pass@k only at 2."""
    early, late = {"p0": "a.", "p1": "." * 8}, {"p0": "a...", "p1": "." * 8}
    a, b, c = (
        run(tmp_path / name, base=base, trained=base) for name, base in (("a", early), ("b", early), ("c", late))
    )
    found = compare_runs([a, b])
    assert (found["k"], found["k_answers"]) == (8, 2) and list(found["recipes"][0]["pass_at_k"]) == ["1", "2"]
    assert any("sampling stopped early" in caution for caution in found["cautions"])
    with pytest.raises(UsageError, match=r"in .*a after 2 samples .* elsewhere after 4, .*: --k 2 measures all"):
        compare_runs([a, b, c])
    assert compare_runs([a, b, c], Asked(k=2))["k_answers"] == 2


def test_other_problems_are_refused_or_left_out(tmp_path: Path) -> None:
    fewer = [{k: v for k, v in of.items() if k != "p003"} for of in (BASE, OTHER)]
    a, b = run(tmp_path / "a"), run(tmp_path / "b", base=fewer[0], trained=fewer[1])
    with pytest.raises(UsageError, match=r"(?s)problems: 7 are in all runs, of 8 in .*a, 7 in .*b\n--shared-problems"):
        compare_runs([a, b])
    found = compare_runs([a, b], Asked(shared_problems=True))
    assert found["n_problems"] == 7 and found["restricted"]["shared_problems"] == 7
    assert found["recipes"][0]["support"] == found["recipes"][1]["support"]
    assert any("the 7 problems that all runs have, of up to 8" in caution for caution in found["cautions"])
    c = run(tmp_path / "c", base={"q": "a" * 8}, trained={"q": "a" * 8})
    with pytest.raises(UsageError, match="no problem in common"):
        compare_runs([a, c], Asked(shared_problems=True))


def test_fewer_samples_and_fewer_problems_together(tmp_path: Path) -> None:
    few = [{k: v[:5] for k, v in of.items() if k != "p003"} for of in (BASE, OTHER)]
    a, b = run(tmp_path / "a"), run(tmp_path / "b", base=few[0], trained=few[1])
    found = compare_runs([a, b], Asked(k=5, shared_problems=True))
    assert (found["k"], found["n_problems"]) == (5, 7)
    assert found["recipes"][0]["support"] == found["recipes"][1]["support"]


def test_the_same_problem_worded_or_verified_otherwise_is_refused(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    strict = [problem(name, verifier="math?strict=1") for name in BASE]
    b = run(tmp_path / "b", problems=strict)
    with pytest.raises(UsageError, match=r'problems.verifier: "math" in .*a of \w+, "math\?strict=1" in .*b of'):
        compare_runs([a, b])


def test_the_base_is_the_same_with_or_without_a_slash(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", config={"policies.base.model": f"{BASE_MODEL}/"})
    assert compare_runs([a, b])["allowed"] == {}
