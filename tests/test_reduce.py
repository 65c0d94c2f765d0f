"""Files -> estimates: hand-worked numbers, formats, schema drift, what is refused; Ray Data gives the same."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from leash_ray.errors import UsageError
from leash_ray.reduce import find_files, reduce_paths
from leash_ray.types import COMPLETIONS_SCHEMA

NAMES = ("policy", "task", "problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum")
# Per problem: P found by both, E by trained only, S by base only, O by neither. "." is INCORRECT with its own answer,
# "-" NO_ANSWER, "!" ERROR, and a letter a CORRECT answer. The trained policy has one sample more of problem S.
BASE = {"P": "ab..", "E": "..--", "S": "..aa", "O": "...."}
TRAINED = {"P": "bbcb", "E": "...a", "S": ".....", "O": "----"}
VERDICT_OF = {"-": "NO_ANSWER", "!": "ERROR", ".": "INCORRECT"}


def completions(policy: str, problems: dict[str, str], task: str | None = "t") -> pa.Table:
    rows = []
    for problem, samples in problems.items():
        for i, sample in enumerate(samples):
            answer = {"-": None, "!": None, ".": f"wrong {i}"}.get(sample, sample)
            rows.append((policy, task, problem, i, VERDICT_OF.get(sample, "CORRECT"), answer, 2, -0.5))
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    absent = {f.name: pa.nulls(len(rows), f.type) for f in COMPLETIONS_SCHEMA if f.name not in NAMES}
    arrays = {c: pa.array(v, COMPLETIONS_SCHEMA.field(c).type) for c, v in columns.items()} | absent
    return pa.table(arrays, schema=COMPLETIONS_SCHEMA)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for policy, problems in (("base", BASE), ("trained", TRAINED)):
        (tmp_path / policy).mkdir()
        pq.write_table(completions(policy, problems), tmp_path / policy / "part-0.parquet", row_group_size=3)
    return tmp_path


def reduce_json(*paths: str | Path, parallel: bool = False, **options: Any) -> dict[str, Any]:
    names = {"base": "base", "trained": "trained"} | options
    out = reduce_paths(paths, parallel=parallel, **names).to_json()
    json.dumps(out, allow_nan=False)
    return out


def part(support: dict[str, Any]) -> dict[str, Any]:
    """The counts and metrics of a unit alone."""
    return {name: support[name] for name in ("P", "E", "S", "O", "SRR", "NDR", "SDS", "NSCR")}


def test_by_hand(folder: Path) -> None:
    out = reduce_json(folder)
    assert (out["base"], out["trained"], out["n_problems"], out["k"], out["zeta"]) == ("base", "trained", 4, 4, 0.05)
    assert out["epsilon"] == pytest.approx(2.995732 / 4, rel=1e-6)
    assert out["n_problems_unpaired"] == {"base_only": 0, "trained_only": 0, "neither": 0}
    half = {"SRR": 0.5, "NDR": 0.5, "SDS": 0.5, "NSCR": 0.0}
    assert part(out["support"]["problem"]) == {"P": 1, "E": 1, "S": 1, "O": 1} | half
    # base: (P, a) (P, b) (S, a); trained: (P, b) (P, c) (E, a)
    answer = {"SRR": 1 / 3, "NDR": 2 / 3, "SDS": pytest.approx(4 / 9), "NSCR": 0.0}
    assert part(out["support"]["answer"]) == {"P": 1, "E": 2, "S": 2, "O": None} | answer

    base, trained = out["policies"]["base"], out["policies"]["trained"]
    assert (base["n_completions"], trained["n_completions"]) == (16, 17)
    assert base["verdicts"] == {"CORRECT": 4, "INCORRECT": 10, "NO_ANSWER": 2, "TRUNCATED": 0, "ERROR": 0}
    assert base["pass_at_k"] == pytest.approx({"1": 0.25, "2": (5 / 6 + 5 / 6) / 4, "4": 0.5})
    assert base["coverage_at_k"] == {"1": 0.25, "2": 0.25, "4": 0.5}
    assert trained["coverage_at_k"] == {"1": 0.25, "2": 0.25, "4": 0.5}
    assert base["distinct_correct_answers"] == 0.75
    # nats: P and O have four answers each, E has wrong 0, wrong 1, NA twice, S has two wrong ones and a twice
    assert base["answer_entropy"] == pytest.approx((2 * 1.3862943611 + 2 * 1.0397207708) / 4)
    assert (base["mean_surprisal"], base["mean_n_tokens"]) == (0.25, 2.0)
    # without ERRORs the bounds are the estimates
    assert out["support_bounds"]["problem"] == {"k": 4, "P": [1, 1], "E": [1, 1], "S": [1, 1], "O": [1, 1]}
    assert base["pass_at_k_bounds"] == {k: [v, v] for k, v in base["pass_at_k"].items()}
    assert base["correct_by_leniency"] == 0
    assert list(out["by_task"]) == ["t"]
    assert out["by_task"]["t"]["support"] == out["support"]


def test_swapping_the_policies_swaps_e_and_s(folder: Path) -> None:
    problem = {"P": "a", "Q": "a", "R": ".", "T": "a"}, {"P": "a", "Q": ".", "R": ".", "T": "."}
    for policy, problems in zip(("one", "two"), problem, strict=True):
        pq.write_table(completions(policy, problems), folder / f"{policy}.parquet")
    there, back = (reduce_json(folder, base=b, trained=t)["support"] for b, t in (("one", "two"), ("two", "one")))
    for unit in ("problem", "answer"):
        assert [there[unit][c] for c in "PES"] == [back[unit][c] for c in "PSE"] == [1, 0, 2]


def test_per_problem(folder: Path) -> None:
    table = reduce_paths([folder], base="base", trained="trained", parallel=False).per_problem
    assert table.column_names == ["problem_id", "task", "group"] + [
        f"{name}_{side}"
        for name in ("n", "c", "first_correct", "distinct_answers", "distinct_correct_answers", "answer_entropy")
        for side in ("base", "trained")
    ] + ["epsilon"] + [
        f"{name}_{side}"
        for side in ("base", "trained")
        for name in ("above_epsilon", "n_tokens", "token_entropy", "surprisal")
    ] + [f"{name}_{side}" for side in ("base", "trained") for name in ("chao1", "chao1_low", "chao1_high")] + [
        f"answers_{letter}" for letter in "PES"
    ]
    row = table.filter(pc.equal(table["problem_id"], "S")).to_pylist()[0]
    assert row["answer_entropy_trained"] == pytest.approx(1.6094379124)
    assert row["epsilon"] == pytest.approx(2.995732 / 4)  # by the fewer samples
    assert 0 < row["above_epsilon_trained"] < row["above_epsilon_base"] < 1
    assert (row["surprisal_trained"], row["token_entropy_trained"]) == (0.25, None)
    # One answer, seen twice: nothing seems unseen. The trained policy found none: nothing can be said.
    assert (row["chao1_base"], row["chao1_low_base"], row["chao1_low_trained"]) == (1.0, 1.0, None)
    later = ("answer_entropy", "token_entropy", "surprisal", "epsilon", "above_epsilon", "chao1")
    assert {c: v for c, v in row.items() if not c.startswith(later)} == {
        "problem_id": "S",
        "task": "t",
        "group": "S",
        "n_base": 4,
        "n_trained": 5,
        "c_base": 2,
        "c_trained": 0,
        "first_correct_base": 2,
        "first_correct_trained": None,
        "distinct_answers_base": 3,
        "distinct_answers_trained": 5,
        "distinct_correct_answers_base": 1,
        "distinct_correct_answers_trained": 0,
        "n_tokens_base": 8,
        "n_tokens_trained": 10,
        "answers_P": 0,
        "answers_E": 0,
        "answers_S": 1,
    }
    assert table["group"].to_pylist() == sorted("PESO")


def test_errors_and_unpaired_problems_are_counted_not_guessed(tmp_path: Path) -> None:
    base = {"p": "a.!.", "only base": "a", "failed": "!!", "failed for trained": "a", "failed twice": "!"}
    trained = {"p": "!!a.", "only trained": "a", "failed": "aa", "failed for trained": "!", "failed twice": "!"}
    pq.write_table(completions("base", base), tmp_path / "b.parquet")
    pq.write_table(completions("trained", trained), tmp_path / "t.parquet")
    out = reduce_json(tmp_path)
    assert (out["n_problems"], out["k"]) == (1, 2)
    assert out["n_problems_unpaired"] == {"base_only": 2, "trained_only": 2, "neither": 1}
    assert out["support"]["problem"]["P"] == 1 and out["support"]["problem"]["S"] == 0
    policy = out["policies"]["trained"]
    assert (policy["n_completions"], policy["verdicts"]["ERROR"]) == (9, 4)
    assert policy["pass_at_k"] == {"1": 0.5, "2": 1.0}
    assert policy["coverage_at_k"] == {"1": None, "2": None}  # the first two are unscored


def test_bounds_are_what_errors_may_hide(tmp_path: Path) -> None:
    """Each problem by hand: which groups it can fall into, whatever the ERRORs would have been."""
    problems = {
        "sure": ("a.", ".a"),  # P
        "base may": ("!.", ".a"),  # E, or P
        "trained may": ("a.", "!."),  # S, or P
        "both may": (".!", "!."),  # any
        "never": ("..", ".."),  # O
        "only errors": ("!!", "a."),  # unpaired in the estimates; E, or P
        "too late": (".!", "..!"),  # k = 2: the third does not count; O, or S
    }
    for i, policy in enumerate(("base", "trained")):
        pq.write_table(completions(policy, {p: s[i] for p, s in problems.items()}), tmp_path / f"{policy}.parquet")
    out = reduce_json(tmp_path)
    assert out["support_bounds"]["problem"] == {"k": 2, "P": [1, 5], "E": [0, 3], "S": [0, 3], "O": [1, 3]}
    assert out["n_problems"] == 6
    base, trained = (out["policies"][p]["pass_at_k_bounds"] for p in ("base", "trained"))
    # over the six measured problems; base: 1 2 errors 0 1 .. of 2; trained: of 2 and 3
    assert base["1"] == pytest.approx([2 * 0.5 / 6, (0.5 + 0.5 + 0.5 + 0.5 + 0 + 0.5) / 6])
    assert trained["1"] == pytest.approx([(0.5 + 0.5) / 6, (0.5 + 0.5 + 0.5 + 0.5 + 0 + 1 / 3) / 6])


def test_right_by_leniency_is_counted_for_each_policy(folder: Path) -> None:
    table = pq.read_table(folder / "trained" / "part-0.parquet")
    # of one problem's CORRECT completions and of an INCORRECT one, which does not count
    names = [
        "phrase" if (v == "CORRECT" and p == "P") or v == "INCORRECT" else None
        for v, p in zip(table["verdict"].to_pylist(), table["problem_id"].to_pylist(), strict=True)
    ]
    column = pa.array(names, pa.string()).dictionary_encode()
    place = table.schema.get_field_index("leniency")
    pq.write_table(table.set_column(place, "leniency", column), folder / "trained" / "part-0.parquet")
    out = reduce_json(folder)
    assert [out["policies"][p]["correct_by_leniency"] for p in ("base", "trained")] == [0, 4]
    assert out["by_task"]["t"]["policies"]["trained"]["correct_by_leniency"] == 4


def test_k_is_the_smallest_n_and_ends_the_curve(tmp_path: Path) -> None:
    pq.write_table(completions("base", {"p": "a" * 9, "q": "." * 6}), tmp_path / "b.parquet")
    pq.write_table(completions("trained", {"p": "a" * 7, "q": "." * 8}), tmp_path / "t.parquet")
    out = reduce_json(tmp_path)
    assert out["k"] == 6
    assert out["policies"]["base"]["pass_at_k"] == dict.fromkeys(["1", "2", "4", "6"], 0.5)


# Base 2 samples each, so k = 2 and what the trained policy finds from its third scored sample on is not support.
UNEQUAL = {
    "late": ("..", ".......a", "O"),  # at index 7
    "lost": ("a.", "..a", "S"),
    "early": ("..", ".a..", "E"),
    "both": (".a", "!!!bca", "P"),  # ERRORs are passed over: b and c are its first two scored
    "error first": ("a!a", "b!a", "P"),  # two scored each, though three were drawn
    "error then late": ("..", ".!.a", "O"),
}


def test_unequal_sample_sizes_compare_the_first_k(tmp_path: Path) -> None:
    for i, policy in enumerate(("base", "trained")):
        pq.write_table(completions(policy, {p: s[i] for p, s in UNEQUAL.items()}), tmp_path / f"{policy}.parquet")
    estimates = reduce_paths([tmp_path], base="base", trained="trained", parallel=False)
    out = estimates.to_json()
    assert out["k"] == 2
    assert [out["support"]["problem"][c] for c in "PESO"] == [2, 1, 1, 2]
    groups = zip(*(estimates.per_problem[c].to_pylist() for c in ("problem_id", "group")), strict=True)
    assert dict(groups) == {p: group for p, (_, _, group) in UNEQUAL.items()}
    # base: (lost, a) (both, a) (error first, a); trained: (early, a) (both, b) (both, c) (error first, a) (.., b)
    assert [out["support"]["answer"][c] for c in "PES"] == [1, 4, 2]
    assert [out["policies"][p]["distinct_correct_answers"] for p in ("base", "trained")] == [3 / 6, 5 / 6]
    assert out["policies"]["trained"]["pass_at_k"]["1"] == pytest.approx((1 / 8 + 1 / 3 + 1 / 4 + 1 + 1 + 1 / 3) / 6)


def test_one_sample_more_cannot_expand(tmp_path: Path) -> None:
    pq.write_table(completions("base", {"p": ".."}), tmp_path / "b.parquet")
    pq.write_table(completions("trained", {"p": ".......a"}), tmp_path / "t.parquet")
    support = reduce_json(tmp_path)["support"]
    assert [support["problem"][c] for c in "PESO"] == [0, 0, 0, 1]
    assert [support["answer"][c] for c in "PES"] == [0, 0, 0]
    # In a gapped numbering the first two samples are still the first two.
    gapped = completions("trained", {"p": "....a..."}).filter(pa.array([i in (1, 4, 6) for i in range(8)]))
    pq.write_table(gapped, tmp_path / "t.parquet")
    assert reduce_json(tmp_path)["support"]["problem"]["E"] == 1


def test_a_task_has_its_own_k(tmp_path: Path) -> None:
    for policy, samples in (("base", {"p": "..", "q": "...."}), ("trained", {"p": "..", "q": "...a"})):
        tables = [completions(policy, {problem: samples[problem]}, task) for problem, task in (("p", "x"), ("q", "y"))]
        pq.write_table(pa.concat_tables(tables), tmp_path / f"{policy}.parquet")
    out = reduce_json(tmp_path)
    assert (out["k"], out["support"]["problem"]["E"], out["support"]["answer"]["E"]) == (2, 0, 0)
    task = out["by_task"]["y"]
    assert (task["k"], task["support"]["problem"]["E"], task["support"]["answer"]["E"]) == (4, 1, 1)


def test_tasks_apart(tmp_path: Path) -> None:
    parts = [completions("base", {"p": "a", "q": "."}, "x"), completions("base", {"r": "aa"}, "y")]
    parts += [completions("trained", {"p": "a", "q": "a"}, "x"), completions("trained", {"u": "a"}, None)]
    for i, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{i}.parquet")
    by_task = reduce_json(tmp_path)["by_task"]
    assert list(by_task) == ["(no task)", "x", "y"]
    assert [by_task["x"]["support"]["problem"][c] for c in "PESO"] == [1, 1, 0, 0]
    assert by_task["y"]["n_problems"] == 0 and by_task["y"]["n_problems_unpaired"]["base_only"] == 1
    assert by_task["y"]["epsilon"] is None and by_task["y"]["policies"]["base"]["pass_at_k"] == {}


ENTROPIES = ("answer_entropy", "correct_answer_entropy")


def test_only_the_four_needed_columns(tmp_path: Path, folder: Path) -> None:
    for policy in ("base", "trained"):
        table = pq.read_table(folder / policy / "part-0.parquet")
        bare = table.select(["policy", "problem_id", "sample_index", "verdict"])
        pq.write_table(bare, tmp_path / f"bare-{policy}.parquet")
    out = reduce_json(tmp_path / "bare-*.parquet")
    full = reduce_json(folder / "base", folder / "trained")
    assert out["support"] == {"problem": full["support"]["problem"], "answer": None}
    assert out["by_task"] is None
    missing = {f"{of}{how}" for of in ENTROPIES for how in ("", "_miller_madow", "_chao_shen")}
    missing |= {"mean_surprisal", "mean_n_tokens", "distinct_correct_answers", "distinct_correct_at_k"}
    missing |= {"correct_by_leniency", "chao1_correct_answers", "unseen_correct_mass"}
    for policy in ("base", "trained"):
        bare, whole = out["policies"][policy], full["policies"][policy]
        assert bare.keys() == whole.keys()
        for name in bare.keys() - {"ci"}:
            if name not in missing:
                assert bare[name] == whole[name], name
            else:
                assert bare[name] in (None, {"1": None, "2": None, "4": None}) and whole[name] is not None, name
        assert bare["ci"]["answer_entropy"] is None and bare["ci"]["pass_at_k"] == whole["ci"]["pass_at_k"]


def drifted(folder: Path, out: Path) -> list[Path]:
    """The same completions in every other form: three files, three types, compressed JSON lines."""
    base = pq.read_table(folder / "base" / "part-0.parquet")
    trained = pq.read_table(folder / "trained" / "part-0.parquet")
    plain = pa.table({n: base[n].cast(pa.large_string()) for n in ("policy", "problem_id", "verdict", "answer")})
    plain = plain.append_column("sample_index", base["sample_index"].cast(pa.int64()))
    plain = plain.append_column("n_tokens", base["n_tokens"].cast(pa.uint16()))
    plain = plain.append_column("logprob_sum", base["logprob_sum"].cast(pa.float64()))
    plain = plain.append_column("task", base["task"])
    plain = plain.append_column("leniency", base["leniency"].cast(pa.string()))
    pq.write_table(plain.slice(0, 7), out / "a.parquet")
    pq.write_table(base.slice(7), out / "b.parquet")
    lines = "".join(json.dumps(r | {"extra": [1]}) + "\n" for r in trained.select(list(NAMES)).to_pylist())
    (out / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return [out / "a.parquet", out / "b.parquet", out / "c.jsonl.gz"]


def test_formats_and_types_do_not_matter(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "drifted"
    out.mkdir()
    found, expected = reduce_json(*drifted(folder, out)), reduce_json(folder / "base", folder / "trained")
    # JSON lines that never say it do not record leniency
    for part in (expected, expected["by_task"]["t"]):
        part["policies"]["trained"]["correct_by_leniency"] = None
    assert found == expected


def test_json_lines_with_number_ids_and_gaps(tmp_path: Path) -> None:
    lines = [
        {"policy": p, "problem_id": 17, "sample_index": i, "verdict": v, "answer": 4}
        for p in ("base", "trained")
        for i, v in enumerate(["CORRECT", "INCORRECT"])
    ]
    del lines[1]["answer"]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines) + "\n")
    out = reduce_json(tmp_path / "x.jsonl")
    assert out["support"]["answer"]["P"] == 1
    assert out["policies"]["base"]["answer_entropy"] is None  # one of its answers is not known
    assert out["policies"]["trained"]["answer_entropy"] == 0.0


def test_ray_data_gives_the_same(folder: Path, tmp_path: Path, ray_session: object) -> None:
    out = tmp_path / "drifted"
    out.mkdir()
    files = drifted(folder, out)
    alone, on_ray = (reduce_paths(files, base="base", trained="trained", parallel=p) for p in (False, True))
    assert on_ray.to_json() == alone.to_json()
    assert on_ray.per_problem.equals(alone.per_problem)


def test_ray_data_reports_a_mistake_in_a_file(folder: Path, ray_session: object) -> None:
    pq.write_table(pa.table({"policy": ["base"]}), folder / "odd.parquet")
    for parallel in (False, True):
        with pytest.raises(UsageError, match=r"odd.parquet: not a completions table: missing column problem_id"):
            reduce_json(folder, parallel=parallel)


def test_files_found(folder: Path) -> None:
    for hidden in (".part.123.tmp.parquet", "_temporary/x.parquet", ".cache/y.parquet"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"half written")
    (folder / "notes.txt").touch()
    both = [folder / "base" / "part-0.parquet", folder / "trained" / "part-0.parquet"]
    assert find_files([folder]) == both
    assert find_files([folder, both[1], f"{folder}/*/*.parquet", f"{folder}/b*"]) == both
    odd = folder / "[1].parquet"
    both[0].rename(odd)
    assert find_files([odd]) == [odd]  # a file's own name is no pattern


def test_files_without_rows(folder: Path) -> None:
    pq.write_table(completions("base", BASE).slice(0, 0), folder / "none.parquet")
    (folder / "none.jsonl").touch()
    assert reduce_json(folder, folder / "none.jsonl")["n_problems"] == 4
    with pytest.raises(UsageError, match="no completions of policy 'base'; policies in the data: none"):
        reduce_json(folder / "none.parquet")


def test_a_file_given_under_two_names_is_refused(folder: Path) -> None:
    copy = folder / "copy.parquet"
    copy.write_bytes((folder / "base" / "part-0.parquet").read_bytes())
    with pytest.raises(UsageError, match=r"16 keys .*\(base, E, 0\) x2, .*leave out the copied file"):
        reduce_json(folder)


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["nowhere"], {}, "no such file or folder: .*nowhere"),
        (["*.nothing"], {}, "no such file or folder"),
        (["empty"], {}, r"no Parquet files in .*empty .*empty/\*.jsonl"),
        ([], {}, "no paths to reduce"),
        (["notes.txt"], {}, "cannot read .*notes.txt: expected one of .parquet"),
        (["broken.parquet"], {}, "cannot read .*broken.parquet as Parquet"),
        (["broken.jsonl"], {}, "cannot read .*broken.jsonl as one JSON object a line"),
        (["base"], {}, "no completions of policy 'trained'; policies in the data: base$"),
        (["base", "trained"], {"base": "bsae"}, "no completions of policy 'bsae'; policies in the data: base, trained"),
        (["base", "trained"], {"base": "trained"}, "base and trained are both 'trained'"),
        (["base", "trained"], {"zeta": 1.0}, "zeta must lie strictly between 0 and 1"),
        (["base", "other.parquet"], {}, "no problem has scored completions of both 'base' .4 problems. and 'trained'"),
    ],
)
def test_unusable_arguments(folder: Path, paths: list[str], options: dict[str, Any], message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("x")
    (folder / "broken.parquet").write_text("x")
    (folder / "broken.jsonl").write_text('{"policy": "base"\n[')
    pq.write_table(completions("trained", {"elsewhere": "a"}), folder / "other.parquet")
    with pytest.raises(UsageError, match=message):
        reduce_json(*(folder / p for p in paths), **options)
