"""Replay: what is kept, which problems are reviewed, what their groups get, and that a resumed run has the same."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.book import Book
from leash_ray.rlvr.mixing import Mixture
from leash_ray.rlvr.replay import REVIEW, Buffer, Rare, metrics_of, put_rare, rare_of, rarest, with_reviews
from leash_ray.rlvr.rollouts import Draw, Rollouts, verified
from leash_ray.types import CompletionBatch, Problem, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", "") for i in range(8)]
BY_ID = {p.id: p for p in PROBLEMS}
IDS = [p.id for p in PROBLEMS]
C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


def rare(surprisal: float = 1.0, token: int = 9, step: int = 0) -> Rare:
    return Rare((token, 1), (-surprisal, 0.0), "t", "a", step)


def rollouts(*groups: Sequence[tuple[int, float, Verdict]], epoch: int = 0, cut: bool = False) -> Rollouts:
    """Completions of one token and an end each: (token, ln p, verdict)."""
    draws = [Draw(PROBLEMS[g], epoch) for g in range(len(groups))]
    batches = [
        CompletionBatch(
            prompt_ids=np.array([5], np.int32),
            token_ids_T=np.array([i for token, _, _ in group for i in (token, 1)], np.int32),
            logprobs_T=np.array([x for _, logp, _ in group for x in (logp, 0.0)], np.float32),
            offsets=np.arange(0, 2 * len(group) + 1, 2),
            texts=[str(token) for token, _, _ in group],
            finish_reasons=["length" if cut else "stop"] * len(group),
            version=0,
        )
        for group in groups
    ]
    verdicts = [Verification(v, "a") for group in groups for _, _, v in group]
    return verified(draws, batches, [1.0] * len(groups), lambda _: verdicts, 0.0)


def test_the_least_likely_correct_completion_of_each_problem() -> None:
    group = [(2, -1.0, C), (3, -4.0, W), (4, -2.0, C), (5, -9.0, E)]
    found = rare_of(rollouts(group, [(6, -1.0, W)] * 4), step=7)
    assert found == {IDS[0]: Rare((4, 1), (-2.0, 0.0), "4", "a", 7)}
    assert rare_of(rollouts(group, cut=True), step=7) == {}  # it did not end by itself


def test_the_rarest_of_all_workers() -> None:
    assert rarest([{"p": rare(1.0), "q": rare(2.0)}, {"p": rare(3.0)}]) == {"p": rare(3.0), "q": rare(2.0)}


def test_the_buffer_keeps_what_is_rarer_and_forgets_the_oldest_problem() -> None:
    buffer = Buffer(2)
    buffer.add({"b": rare(1.0), "a": rare(2.0)})
    buffer.add({"a": rare(1.5, step=1), "b": rare(3.0, step=1)})
    assert buffer.of == {"a": rare(2.0), "b": rare(3.0, step=1)}
    buffer.add({"c": rare()})
    assert list(buffer.of) == ["b", "c"]


@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 50, width=32), min_size=1, max_size=4), max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_buffer_survives_a_checkpoint(found: dict[str, list[float]]) -> None:
    buffer = Buffer(9)
    buffer.add({i: Rare(tuple(range(len(x))), tuple(-v for v in x), "t", None, 3) for i, x in found.items()})
    again = Buffer.restored(9, json.loads(json.dumps(buffer.state())))
    assert again == buffer and list(again.of) == list(buffer.of)


def reviews(n: int, buffer: Buffer, book: Book, step: int = 0) -> list[Draw]:
    draws = [Draw(p, 0) for p in PROBLEMS[:4]]
    return with_reviews(draws, n, buffer, book, BY_ID, step, seed=2)


def test_reviews_take_the_last_places_and_no_problem_comes_twice() -> None:
    buffer = Buffer(9)
    assert reviews(2, buffer, Book()) == [Draw(p, 0) for p in PROBLEMS[:4]]  # nothing is there yet
    buffer.add({i: rare() for i in (IDS[0], IDS[5], "gone")})
    found = reviews(2, buffer, Book())  # of the buffer's problems one is coming anyway, one is no problem of this run
    assert found == [*(Draw(p, 0) for p in PROBLEMS[:3]), Draw(PROBLEMS[5], REVIEW)]
    buffer.add({i: rare() for i in IDS})
    for step in range(20):
        found = reviews(3, buffer, Book(), step)
        assert found[0] == Draw(PROBLEMS[0], 0) and len({d.problem.id for d in found}) == 4
        assert {d.problem.id for d in found[1:]} <= set(IDS[4:])
        assert found == reviews(3, buffer, Book(), step)


def test_what_is_about_to_be_lost_is_reviewed_most() -> None:
    buffer, book = Buffer(9), Book()
    buffer.add({i: rare() for i in IDS[4:6]})
    book.add_own({IDS[4]: (7, 0), IDS[5]: (7, 7)})
    # Weights 1 − ½/8 and 1 − 7½/8: 15 to 1.
    n = Counter(reviews(1, buffer, book, step)[-1].problem.id for step in range(400))
    assert n[IDS[4]] == pytest.approx(375, abs=20)  # 4 standard deviations
    assert n[IDS[5]] > 0


def test_the_kept_completion_comes_into_the_group_of_a_review_once() -> None:
    buffer = Buffer(9)
    buffer.add({IDS[0]: rare(3.0, token=9), IDS[1]: rare(3.0, token=6), IDS[2]: rare()})
    drawn = rollouts([(6, -1.0, W), (7, -1.0, E)], [(6, -1.0, C), (7, -1.0, W)], epoch=REVIEW)
    mixture = Mixture(drawn)
    sums = put_rare(mixture, buffer)
    assert sums == {"reviews": 2.0, "reviews_correct": 1.0, "reviewed": 3.0, "replayed": 1.0}
    mixed, batch = mixture.rollouts(), mixture.batch(0)
    assert [g.texts for g in mixed.groups] == [["6", "t"], ["6", "7"]]  # the second group has drawn it itself
    assert mixed.verifications[1] == Verification(C, "a")
    assert not batch.foreign_B.any()
    assert batch.sampler_logp_BT[1].tolist() == [-3.0, 0.0]  # the ratio is against the version that drew it
    assert metrics_of(sums, buffer) == {
        "reviews": 2.0, "review_correct_share": pytest.approx(1 / 3), "replayed": 1.0, "replay_buffer": 3.0,
    }  # fmt: skip


def test_turns_are_left_alone() -> None:
    buffer = Buffer(9)
    buffer.add({IDS[0]: rare()})
    mixture = Mixture(rollouts([(6, -1.0, W), (7, -1.0, W)]))
    assert put_rare(mixture, buffer)["replayed"] == 0.0
    assert mixture.rollouts().groups[0].texts == ["6", "7"]
