"""What cannot be had goes to the dead letters with its reason, and holds nothing else up."""

from pathlib import Path
from typing import Any

import pytest
from scripted_sampling import IDS, PROBLEMS, SaysYes, Scripted, drawing, maker, rounds_of, rows_in

from leash_ray.errors import RunFailed, UsageError
from leash_ray.policy import DeadlyRequest, RequestFailed
from leash_ray.sampling import dead_letters
from leash_ray.sampling.budget import Design
from leash_ray.sampling.dead_letters import DeadLetter
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.sampling.shard import Shard
from leash_ray.sampling.stage import unfit_prompts
from leash_ray.types import Problem, SampleRequest

BAD = PROBLEMS[2]
DESIGN = Design((4,))


def fails_on(problem: Problem, error: Exception) -> Any:
    """For policies and verifiers."""
    return lambda asked: error if problem.prompt == asked.prompt else None


def run(folder: Path, policy: Any, verifier: Any = None, design: Design = DESIGN, share: float = 0.5) -> Any:
    rounds = rounds_of(folder, design, ["base"], samples_per_shard=16, max_dead_share=share)
    list(rounds.run(drawing(maker(folder, {"base": policy}, verifier))))
    return rounds


@pytest.mark.parametrize("stage", ["policy", "verifier"])
def test_one_bad_problem_is_recorded_and_stops_no_other(tmp_path: Path, stage: str) -> None:
    fails = fails_on(BAD, ValueError("the prompt has 70 tokens\nand 64 fit"))
    policy = Scripted(fails=fails) if stage == "policy" else Scripted()
    rounds = run(tmp_path / "c", policy, SaysYes(fails) if stage == "verifier" else None)
    assert {key[1] for key in rows_in(tmp_path / "c")} == set(IDS) - {BAD.id}
    letters = dead_letters.read(tmp_path / "dead_letters.jsonl")
    assert letters == [DeadLetter("base", BAD.id, 0, 4, stage, "and 64 fit", 3)]
    assert (rounds.n_dead, rounds.given_up, rounds.n_held.total()) == (4, {("base", BAD.id)}, 20)
    # The next run tries it again, and nothing else.
    well = Scripted()
    assert run(tmp_path / "c", well).n_dead == 0
    assert [request.prompt for request in well.requests] == [BAD.prompt]
    assert len(rows_in(tmp_path / "c")) == 24


def test_the_others_are_the_completions_that_they_would_have_been(tmp_path: Path) -> None:
    run(tmp_path / "a" / "c", Scripted(fails=fails_on(BAD, ValueError("no"))))
    run(tmp_path / "b" / "c", Scripted())
    assert rows_in(tmp_path / "a" / "c").items() < rows_in(tmp_path / "b" / "c").items()


def test_what_fails_at_times_is_tried_again(tmp_path: Path) -> None:
    tries = iter([TimeoutError("slow"), TimeoutError("slow")])

    def fails(request: SampleRequest) -> Exception | None:
        return next(tries, None) if request.prompt == BAD.prompt else None

    assert run(tmp_path / "c", Scripted(fails=fails)).n_dead == 0
    assert len(rows_in(tmp_path / "c")) == 24 and not (tmp_path / "dead_letters.jsonl").exists()


def test_a_pair_with_a_dead_letter_is_left_alone_in_later_rounds(tmp_path: Path) -> None:
    never = {p.prompt: 0.0 for p in PROBLEMS}
    policy = Scripted(never, fails_on(BAD, ValueError("no")))
    rounds = run(tmp_path / "c", policy, design=Design((2, 8), 1))
    assert rounds.n_dead == 2 and rounds.n_held.total() == 5 * 8
    assert len([r for r in policy.requests if r.prompt == BAD.prompt]) == 4  # with the others, then alone three times


def test_too_many_stop_the_run_with_the_reason_and_it_goes_on_later(tmp_path: Path) -> None:
    fails = fails_on(BAD, ValueError("the prompt is too long"))
    with pytest.raises(
        RunFailed, match=r"4 of 24 planned completions .*max_dead_share \(0\.1\).* policy: the prompt is"
    ):
        run(tmp_path / "c", Scripted(fails=fails), share=0.1)
    assert len(dead_letters.read(tmp_path / "dead_letters.jsonl")) == 1
    n_there = len(rows_in(tmp_path / "c"))
    policy = Scripted()
    run(tmp_path / "c", policy, share=0.1)
    assert n_there > 0 and sum(r.n for r in policy.requests) == 24 - n_there


def test_a_policy_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    gone = RunFailed("policy 'base' could not be sampled: no replica took it")
    with pytest.raises(RunFailed, match="no replica took it"):
        run(tmp_path / "c", Scripted(fails=lambda request: gone))
    assert not (tmp_path / "dead_letters.jsonl").exists()


@pytest.mark.parametrize(("error", "tries"), [(RequestFailed("no"), 3), (DeadlyRequest("4 died"), 1)])
def test_a_policy_that_answers_others_does_not(tmp_path: Path, error: Exception, tries: int) -> None:
    policy = Scripted(fails=fails_on(BAD, error))
    run(tmp_path / "c", policy)
    (letter,) = dead_letters.read(tmp_path / "dead_letters.jsonl")
    assert (letter.problem_id, letter.reason, letter.tries) == (BAD.id, str(error), tries)
    assert len([r for r in policy.requests if r.prompt == BAD.prompt]) == 1 + tries  # with the others, then alone


@pytest.mark.parametrize("error", [UsageError("no judge is set up"), OSError(28, "No space left on device")])
def test_what_is_no_problem_s_own_fault_stops_the_run(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        run(tmp_path / "c", Scripted(), SaysYes(fails_on(BAD, error)))
    assert not (tmp_path / "dead_letters.jsonl").exists()


def test_a_shard_of_which_nothing_could_be_had_leaves_no_file(tmp_path: Path) -> None:
    made = maker(tmp_path, {"base": Scripted(fails=lambda request: ValueError("no"))})
    row = made.make(Shard("base", IDS[:2], 0, 4))
    assert (row["completions"], len(row["dead"]), list(tmp_path.iterdir())) == (0, 2, [])


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = [DeadLetter("base", str(i), 0, 4, "policy", "why", 1) for i in range(3)]
    dead_letters.append(path, letters[:2])
    path.write_text(path.read_text()[:-20])
    dead_letters.append(path, letters[2:])
    assert dead_letters.read(path) == [letters[0], letters[2]]


class Room:
    """Refuses some prompts, as a served policy does: all or none of those it is asked about."""

    name = "base"

    def __init__(self, *too_long: str) -> None:
        self.too_long, self.n_asked = too_long, 0

    def check_prompts(self, problems: list[Problem], max_tokens: int) -> None:
        self.n_asked += 1
        if any(p.prompt in self.too_long for p in problems):
            raise UsageError(f"some of {len(problems)} prompts do not fit")


def test_prompts_that_do_not_fit_are_dead_letters_unless_there_are_many() -> None:
    problems = [Problem.make("t", str(i), "math", "1") for i in range(200)]
    config = SamplingConfig(n=4, max_dead_share=0.01)
    room: Any = Room("7", "150")
    found = unfit_prompts(room, problems, config, 4)
    assert [(letter.problem_id, letter.stage, letter.n) for letter in found] == [
        (problems[i].id, "prompt", 4) for i in (7, 150)
    ]
    assert room.n_asked < 40
    room = Room("7", "8", "150")
    with pytest.raises(UsageError, match="some of 200 prompts do not fit"):
        unfit_prompts(room, problems, config, 4)
    fine: Any = Room()
    assert unfit_prompts(fine, problems, config, 4) == [] and fine.n_asked == 1
