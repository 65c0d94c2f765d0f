"""How many samples a problem gets: adaptive rounds, going on, topping up. A policy of known chances; real files."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_sampling import IDS, PROBLEMS, Scripted, drawing, maker, rounds_of, rows_in

from leash_ray.config import validate
from leash_ray.errors import UsageError
from leash_ray.sampling.budget import Design, design_of
from leash_ray.sampling.held import Held
from leash_ray.sampling.settings import BudgetConfig, SamplingConfig
from leash_ray.sampling.shard import Gap, Shard
from leash_ray.seeds import stream_seed
from leash_ray.types import SampleRequest, SamplingParams

ROUNDS = Design((2, 8, 32), 1)
CHANCES = (0.0, 0.02, 0.1, 0.3, 0.9, 1.0)
CHANCE = {problem.prompt: p for problem, p in zip(PROBLEMS, CHANCES, strict=True)}


@pytest.mark.parametrize(
    ("budget", "ends"),
    [
        ({}, (32, 128, 512, 2048, 8192, 16384)),
        ({"first": 32, "grow": 4, "max": 8192}, (32, 128, 512, 2048, 8192)),
        ({"first": 10, "grow": 2, "max": 50}, (10, 20, 40, 50)),
        ({"first": 50, "max": 50}, (50,)),
        ({"max": 1000, "stop_after_correct": None}, (1000,)),
        ({"max": 2048, "all_reach": 256}, (256, 512, 2048)),
        ({"max": 2048, "all_reach": 128}, (128, 512, 2048)),
        ({"max": 2048, "all_reach": 8}, (32, 128, 512, 2048)),
        ({"max": 2048, "all_reach": 2048}, (2048,)),
    ],
)
def test_the_ends_of_rounds(budget: dict[str, Any], ends: tuple[int, ...]) -> None:
    assert design_of(SamplingConfig(budget=BudgetConfig(**budget))).ends == ends


def test_the_fixed_design_is_one_round() -> None:
    assert design_of(SamplingConfig(n=100)) == Design((100,), None)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"n": 64, "budget": {}}, "give either n"),
        ({"n": None}, "give either n"),
        ({"budget": {"first": 64, "max": 32}}, r"first \(64\) is above max \(32\)"),
        ({"budget": {"all_reach": 64, "max": 32}}, r"all_reach \(64\) is above max \(32\)"),
        ({"budget": {"grow": 1}}, "grow"),
        ({"budget": {"frist": 1}}, "did you mean 'first'"),
        ({"budget": {}, "temperature": 0.0}, "n = 16384 completions of a problem would be equal"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validate(SamplingConfig, raw, "config")


def test_a_config_with_a_budget_reads_back_as_it_was_written() -> None:
    config = SamplingConfig(budget=BudgetConfig(first=8))
    assert config.n is None and config.most == 16384
    assert SamplingConfig.model_validate(config.model_dump(mode="json")) == config


def test_who_is_drawn_next_by_hand() -> None:
    cases = {
        (0, ()): 2,
        (1, (0,)): 2,  # what is begun is finished: samples exist by rounds
        (2, (1,)): None,
        (2, ()): 8,
        (2, (2,)): 8,  # a sample from beyond the round says nothing of the round
        (8, (2,)): None,
        (8, ()): 32,
        (32, ()): None,
        (32, (31,)): None,
    }
    assert {case: ROUNDS.next_end(*case) for case in cases} == cases
    twice = Design((2, 8, 32), 2)
    assert [twice.next_end(2, (0,)), twice.next_end(2, (0, 1)), twice.next_end(8, (0, 7))] == [8, None, None]


def test_gaps_are_only_what_is_not_held() -> None:
    held = Held()
    held.add(Shard("a", ("x",), 0, 2), {})
    held.add(Shard("a", ("x",), 4, 6), {"x": [5]})
    assert held.gaps(("a", "x"), ROUNDS) == [Gap("a", "x", 2, 4), Gap("a", "x", 6, 8)]
    held.add(Shard("a", ("x",), 6, 12), {})
    assert held.gaps(("a", "x"), ROUNDS) == [Gap("a", "x", 2, 4)]
    held.add(Shard("a", ("x",), 2, 4), {})
    assert held.gaps(("a", "x"), ROUNDS) == []  # correct at 5, within the second round
    assert held.gaps(("a", "y"), ROUNDS) == [Gap("a", "y", 0, 2)]
    assert (held.n(("a", "x")), held.n(("a", "x"), 5), held.from_zero(("a", "x"))) == (12, 5, 12)


def expected_n(design: Design, chance: Mapping[str, float] = CHANCE) -> dict[tuple[str, str], int]:
    """Samples of each pair, from the whole streams: the smallest end with enough correct ones before it."""
    found = {}
    for policy, problem in itertools.product(("base", "trained"), PROBLEMS):
        seed = stream_seed(0, "sample", policy, problem.id)
        batch = Scripted(chance).sample([SampleRequest(problem.prompt, design.most, seed)], SamplingParams())[0]
        hits = [i for i, text in enumerate(batch.texts) if text.startswith("yes")]
        m = design.stop_after_correct
        enough = [e for e in design.ends if m is not None and len([h for h in hits if h < e]) >= m]
        found[policy, problem.id] = min(enough, default=design.most)
    return found


def counts(rows: Mapping[tuple[str, str, int], Any]) -> dict[tuple[str, str], int]:
    """Samples of each pair, which must be the first ones."""
    found: dict[tuple[str, str], int] = {}
    for policy, problem, _ in rows:
        found[policy, problem] = found.get((policy, problem), 0) + 1
    assert set(rows) == {(*pair, i) for pair, n in found.items() for i in range(n)}
    return found


def draw_all(folder: Path, design: Design, shuffle: int | None = None, **given: Any) -> int:
    """Completions drawn."""
    policies = {"base": Scripted(CHANCE), "trained": Scripted(CHANCE)}
    list(rounds_of(folder, design, **given).run(drawing(maker(folder, policies), shuffle)))
    return sum(request.n for policy in policies.values() for request in policy.requests)


@pytest.mark.parametrize("m", [1, 3, None])
def test_undecided_pairs_get_more_and_no_others(tmp_path: Path, m: int | None) -> None:
    design = Design((2, 8, 32), m) if m else Design((32,))
    n_drawn = draw_all(tmp_path / "c", design)
    n = counts(rows_in(tmp_path / "c"))
    assert n == expected_n(design) and sum(n.values()) == n_drawn
    assert {n["base", IDS[0]], n["base", IDS[5]]} == ({2, 32} if m == 1 else {8, 32} if m == 3 else {32})


@given(
    st.sampled_from([Design((2, 8, 32), 1), Design((3, 6, 12, 20), 2), Design((16,))]),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9), st.integers(0, 99)), max_size=4),
)
@settings(max_examples=12, deadline=None)
def test_what_is_drawn_depends_neither_on_shards_nor_on_their_order_nor_on_stops(
    tmp_path_factory: pytest.TempPathFactory, design: Design, stops: list[tuple[int, int, int]]
) -> None:
    """Each stop: with shards of so many samples, in some order, so many shards are finished, then it is killed."""
    folder = tmp_path_factory.mktemp("rounds") / "c"
    n_drawn = 0
    for samples_per_shard, n_finished, shuffle in stops:
        policies = {"base": Scripted(CHANCE), "trained": Scripted(CHANCE)}
        make = drawing(maker(folder, policies), shuffle)
        rounds = rounds_of(folder, design, samples_per_shard=samples_per_shard)
        for _ in itertools.islice(rounds.run(make), n_finished):
            pass
        n_drawn += sum(request.n for policy in policies.values() for request in policy.requests)
    n_drawn += draw_all(folder, design)
    rows = rows_in(folder)
    assert counts(rows) == expected_n(design) and n_drawn == len(rows)
    again = folder.parent / "at once"
    draw_all(again, design)
    assert rows == rows_in(again)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Design((64,)), Design((256,))),
        (Design((2, 8, 32), 1), Design((2, 8, 32, 128, 256), 1)),
        (Design((2, 8, 20), 1), Design((2, 8, 32, 128), 1)),  # 20 was a cap, not a round
        (Design((2, 8, 32), 1), Design((2, 8, 32), 3)),
        (Design((2, 8, 32), 1), Design((8, 32), 1)),  # all reach 8
        (Design((8,)), Design((8, 32, 128), 1)),
        (Design((2, 8, 32), 1), Design((32,))),
    ],
)
def test_topping_up_equals_drawing_at_once(tmp_path: Path, before: Design, after: Design) -> None:
    """Row for row, and nothing is drawn twice."""
    n_first = draw_all(tmp_path / "c", before, samples_per_shard=48)
    n_then = draw_all(tmp_path / "c", after, samples_per_shard=100)
    n_at_once = draw_all(tmp_path / "at once", after)
    rows = rows_in(tmp_path / "c")
    assert rows == rows_in(tmp_path / "at once")
    assert n_first + n_then == n_at_once == len(rows)


def test_more_problems_and_another_policy_draw_only_what_is_missing(tmp_path: Path) -> None:
    folder, design = tmp_path / "c", Design((8,))
    draw_all(folder, design, problems=IDS[:4])
    first = rows_in(folder)
    assert draw_all(folder, design) == 2 * 2 * 8
    third = {"base": Scripted(CHANCE), "third": Scripted(CHANCE)}
    list(rounds_of(folder, design, policies=["base", "third"]).run(drawing(maker(folder, third))))
    assert third["base"].requests == [] and sum(r.n for r in third["third"].requests) == 6 * 8
    rows = rows_in(folder)
    assert len(rows) == 3 * 6 * 8 and first.items() <= rows.items()


def test_policies_one_after_another_draw_the_same_and_one_s_dead_letters_are_its_own(tmp_path: Path) -> None:
    draw_all(tmp_path / "a" / "c", ROUNDS)
    bad = PROBLEMS[0].prompt
    fails = Scripted(CHANCE, lambda request: ValueError("no") if request.prompt == bad else None)
    policies = {"base": fails, "trained": Scripted(CHANCE)}
    folder = tmp_path / "b" / "c"
    rounds = rounds_of(folder, ROUNDS, max_dead_share=0.5)
    seen: list[set[str]] = []
    for policy in policies:
        made = list(rounds.run(drawing(maker(folder, policies)), [policy]))
        seen.append({row["policy"] for row in made})
        assert rounds.gaps([policy]) == [] and set(rounds.n_left) == {policy}
    assert seen == [{"base"}, {"trained"}] and dict(rounds.dead) == {"base": 2}
    rows = rows_in(tmp_path / "a" / "c")
    assert rows_in(folder) == {key: row for key, row in rows.items() if key[:2] != ("base", IDS[0])}


def test_counts_of_a_round(tmp_path: Path) -> None:
    policies = {"base": Scripted({}), "trained": Scripted({p.prompt: 0.0 for p in PROBLEMS})}
    policies["base"].chance = {p.prompt: 1.0 for p in PROBLEMS}
    rounds = rounds_of(tmp_path / "c", Design((2, 8), 1))
    seen: list[tuple[int, dict[str, int], dict[str, int]]] = []

    def make(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        seen.append((rounds.end, dict(rounds.n_held), dict(rounds.n_left)))
        yield from drawing(maker(tmp_path / "c", policies))(shards)

    list(rounds.run(make))
    assert seen == [
        (2, {"base": 0, "trained": 0}, {"base": 12, "trained": 12}),
        (8, {"base": 12, "trained": 12}, {"trained": 36}),
    ]
    assert rounds.n_held == {"base": 12, "trained": 48} and len(rounds.decided) == 12
