"""Units without Ray: shards filled in place, parts of scores tables, given texts, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoring_made import BASE, PROBLEMS, drawn, kept_shares, other_model, probabilities, table_of
from transformers import AutoTokenizer

from leash_ray.errors import UsageError
from leash_ray.scoring.cut import SCORED, cut_json
from leash_ray.scoring.scorer import Scorer
from leash_ray.scoring.table import ScoresTable
from leash_ray.scoring.texts import Text
from leash_ray.scoring.unit import Unit, UnitScorer, is_filled
from leash_ray.types import SamplingParams

FIRST, _, SECOND = PROBLEMS


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load(BASE, dtype="float32", batch_tokens=40)


@pytest.fixture(scope="module")
def completions() -> pa.Table:
    return table_of("base", {p.id: drawn(BASE, p.prompt, 8, 0.8) for p in (FIRST, SECOND)})


def units(scorer: Any, run: Path, temperature: float = 0.8, **changes: Any) -> UnitScorer:
    changes = {"sampling": SamplingParams(temperature=temperature), "context": 64, **changes}
    return UnitScorer(
        scorer=scorer,
        tokenizer=AutoTokenizer.from_pretrained(BASE),
        table=ScoresTable(run, "base", "model", 1.0),
        prompts={p.id: p.prompt for p in PROBLEMS},
        **changes,
    )


def written(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


def prompt_ids(prompt: str) -> list[int]:
    return AutoTokenizer.from_pretrained(BASE)(prompt)["input_ids"]


def test_a_shard_gets_its_entropies_and_keeps_all_else(scorer: Scorer, completions: pa.Table, tmp_path: Path) -> None:
    other = table_of("other", {FIRST.id: [([5, 6], -1.0)]}).set_column(8, "entropy_sum", pa.array([0.25], pa.float32()))
    unusable = table_of("base", {"unknown": [([5, 6], -1.0)], SECOND.id: [([5, 6], -1.0)]})
    unusable = unusable.set_column(10, "token_ids", pa.array([[5, 6], [5, 6, 7]], pa.list_(pa.int32())))
    before = pa.concat_tables([other, completions, unusable], promote_options="permissive").unify_dictionaries()
    before = before.replace_schema_metadata({b"leash_verification": b"001"})
    shard = written(tmp_path / "shard.parquet", before)

    told: list[tuple[int, int]] = []
    tally = units(scorer, tmp_path, on_texts=lambda n, t: told.append((n, t))).score(Unit(str(shard), "base", True))

    after = pq.read_table(shard)
    assert after.drop_columns(["entropy_sum"]).equals(before.drop_columns(["entropy_sum"]))
    entropies = after["entropy_sum"].to_pylist()
    assert entropies[0] == 0.25  # another policy's
    assert entropies[-2:] == [None, None]
    assert sum(tally.unscored.values()) == 2
    assert {reason.split(",")[0] for reason in tally.unscored} == {
        "its problem is not in problems.parquet",
        "its token_ids are missing",
    }
    prompts = {p.id: prompt_ids(p.prompt) for p in PROBLEMS}
    means = []
    for row, found in zip(completions.to_pylist(), entropies[1:-2], strict=True):
        alone = scorer.score(prompts[row["problem_id"]], row["token_ids"], 0.8)
        assert found == pytest.approx(alone.entropy_sum, abs=1e-4)
        assert row["logprob_sum"] == pytest.approx(alone.logprob_sum, abs=1e-3)
        means.append(alone.entropy_sum / len(row["token_ids"]))
    assert (tally.texts, tally.tokens) == (16, sum(completions["n_tokens"].to_pylist()))
    assert (sum(n for n, _ in told), sum(t for _, t in told)) == (tally.texts, tally.tokens)
    assert tally.token_entropy == pytest.approx(np.mean(means), abs=1e-4)
    assert tally.gap_max < 1e-3
    assert {"length", "stop"} == set(completions["finish_reason"].to_pylist())  # cut-off ones are among them
    # It says by which model and at which temperature, and an earlier verification still holds.
    metadata = pq.read_schema(shard).metadata
    assert metadata[b"leash_verification"] == b"001"
    assert json.loads(metadata[SCORED]) == {"base": {"model": "model", "temperature": 0.8}}
    assert is_filled(metadata, "base", "model", 0.8)
    assert not is_filled(metadata, "base", "model", 1.0)
    assert not is_filled(metadata, "other", "model", 0.8)
    assert not is_filled(None, "base", "model", 0.8)


def test_equal_completions_are_scored_once(scorer: Scorer, tmp_path: Path) -> None:
    class Counting:
        def score_many(self, sequences: Any, temperatures: Any, on_batch: Any) -> Any:
            self.n = len(sequences)
            return scorer.score_many(sequences, temperatures, on_batch)

    counting, ids = Counting(), [6, 7, 8]
    nats = [scorer.score(prompt_ids(p.prompt), ids).logprob_sum for p in (FIRST, SECOND)]
    table = table_of("base", {FIRST.id: [(ids, nats[0])] * 5, SECOND.id: [(ids, nats[1])]})
    shard = written(tmp_path / "shard.parquet", table)
    tally = units(counting, tmp_path, 1.0).score(Unit(str(shard), "base", True))
    assert (counting.n, tally.texts, tally.tokens) == (2, 6, 18)
    found = pq.read_table(shard)["entropy_sum"].to_pylist()
    assert len(set(found[:5])) == 1 and found[5] != found[0]


def test_another_model_s_completions_are_refused_before_anything_is_written(
    completions: pa.Table, tmp_path: Path
) -> None:
    stranger = Scorer.load(other_model(tmp_path / "model", noise=0.1), dtype="float32")
    shard = written(tmp_path / "shard.parquet", completions)
    before = shard.read_bytes()
    unit = Unit(str(shard), "base", True, "part")
    with pytest.raises(UsageError, match=r"not drawn by this model .* nats a token.*--accept-gap"):
        units(stranger, tmp_path).score(unit)
    with pytest.raises(UsageError, match="at temperature 2: ln p differs"):
        units(Scorer.load(BASE, dtype="float32"), tmp_path, 2.0).score(unit)
    assert shard.read_bytes() == before
    assert not (tmp_path / "scores").exists()
    tally = units(stranger, tmp_path, accept_gap=True).score(unit)
    assert tally.gap_a_token > 0.1
    assert pq.read_table(shard)["entropy_sum"].null_count == 0


def test_how_much_top_p_cut(scorer: Scorer, tmp_path: Path) -> None:
    """Against the whole distribution at each step, in float64. Entropies are the whole distribution's all the same."""
    temperature, top_p = 0.8, 0.7
    own = {p.id: drawn(BASE, p.prompt, 8, temperature, top_p=top_p) for p in (FIRST, SECOND)}
    shard = written(tmp_path / "cut.parquet", table_of("base", own))
    sampling = SamplingParams(temperature=temperature, top_p=top_p)
    tally = units(scorer, tmp_path, sampling=sampling).score(Unit(str(shard), "base", True))
    kept, entropies = [], []
    prompts = {p.id: p.prompt for p in PROBLEMS}
    for problem, completions in own.items():
        for ids, _ in completions:
            p_TV = probabilities(BASE, prompts[problem], ids, temperature)
            kept += list(kept_shares(p_TV, top_p))
            entropies.append(-(p_TV * np.log(p_TV)).sum())
    assert tally.cut_tokens == len(kept) and tally.gap_tokens == 0
    assert tally.cut_a_token == pytest.approx(-np.log(kept).mean(), abs=1e-5)
    assert 0.01 < tally.cut_a_token < -np.log(top_p)
    assert pq.read_table(shard)["entropy_sum"].to_pylist() == pytest.approx(entropies, abs=1e-3)
    assert is_filled(pq.read_schema(shard).metadata, "base", "model", temperature)
    found = cut_json([shard, written(tmp_path / "unscored.parquet", table_of("other", own))])
    assert found == {
        "base": {
            "nats_a_token": tally.cut_a_token,
            "share": pytest.approx(1 - np.exp(np.log(kept).mean()), abs=1e-5),
            "n_tokens": len(kept),
        }
    }


@pytest.mark.parametrize(
    ("sampling", "refused"),
    [
        (SamplingParams(temperature=0.8, top_p=0.9), True),  # not more than -ln 0.9 can have been cut
        (SamplingParams(temperature=0.8, top_p=0.3), False),
        (SamplingParams(temperature=0.8, top_k=2), False),  # anything can
    ],
)
def test_a_cut_that_is_larger_than_top_p_allows_is_another_model_s(
    scorer: Scorer, tmp_path: Path, sampling: SamplingParams, refused: bool
) -> None:
    own = drawn(BASE, FIRST.prompt, 8, 0.8)
    more = [(ids, nats + 0.5 * len(ids)) for ids, nats in own]
    shard = written(tmp_path / "shard.parquet", table_of("base", {FIRST.id: more}))
    unit, scoring = Unit(str(shard), "base", True), units(scorer, tmp_path, sampling=sampling)
    if refused:
        with pytest.raises(
            UsageError, match=r"differs from the stored by 0\.39 nats a token more than the cut explains"
        ):
            scoring.score(unit)
    else:
        assert scoring.score(unit).cut_a_token == pytest.approx(0.5, abs=1e-4)
    less = written(tmp_path / "less.parquet", table_of("base", {FIRST.id: [(i, n - 0.5 * len(i)) for i, n in own]}))
    with pytest.raises(UsageError, match=r"by 0\.5 nats a token more than the cut explains"):
        scoring.score(Unit(str(less), "base", True))


def test_scores_and_entropies_have_their_own_temperatures(
    scorer: Scorer, completions: pa.Table, tmp_path: Path
) -> None:
    shard = written(tmp_path / "shard.parquet", completions)
    scored = units(scorer, tmp_path)
    scored.score(Unit(str(shard), "base", True, "base--shard"))
    assert scored.table.units_done() == {"base--shard"}
    assert scored.table.finish() == 16
    rows = {(r["problem_id"], r["text_id"]): r for r in pq.read_table(scored.table.path).to_pylist()}
    entropies = pq.read_table(shard)["entropy_sum"].to_pylist()
    for row, entropy in zip(completions.to_pylist(), entropies, strict=True):
        at_1 = scorer.score(prompt_ids(next(p.prompt for p in PROBLEMS if p.id == row["problem_id"])), row["token_ids"])
        own = rows[row["problem_id"], str(row["sample_index"])]
        assert own["logprob_sum"] == pytest.approx(at_1.logprob_sum, abs=1e-4)
        assert own["entropy_sum"] == pytest.approx(at_1.entropy_sum, abs=1e-4)
        assert entropy != pytest.approx(at_1.entropy_sum, abs=1e-3)
        assert (own["policy"], own["source"], own["n_tokens"]) == ("base", "base", row["n_tokens"])


def test_a_given_text_is_tokenised_apart_from_its_prompt(scorer: Scorer, tmp_path: Path) -> None:
    texts = (
        Text(FIRST.id, None, "reference", "a", "9*2+3"),
        Text("elsewhere", "1 1 1=3:", "reference", "b", "1+1+1"),
        Text(FIRST.id, None, "reference", "long", "1+" * 40),
        Text(FIRST.id, None, "reference", "empty", ""),
    )
    scored = units(scorer, tmp_path, 0.0)  # a run that sampled at 0 can still score texts
    tally = scored.score(Unit(part="texts--1", texts=texts))
    assert (tally.texts, tally.unscored) == (3, {"it is longer than the model's context of 64 tokens": 1})
    scored.table.finish()
    rows = {row["text_id"]: row for row in pq.read_table(scored.table.path).to_pylist()}
    text_ids = AutoTokenizer.from_pretrained(BASE)("9*2+3", add_special_tokens=False)["input_ids"]
    alone = scorer.score(prompt_ids(FIRST.prompt), text_ids)
    assert rows["a"]["logprob_sum"] == pytest.approx(alone.logprob_sum, abs=1e-4)
    assert rows["a"]["n_tokens"] == len(text_ids)
    assert rows["b"]["logprob_sum"] < 0
    assert (rows["long"]["logprob_sum"], rows["long"]["n_tokens"]) == (None, 80)
    assert (rows["empty"]["logprob_sum"], rows["empty"]["n_tokens"]) == (0.0, 0)


def test_what_cannot_be_scored_names_the_file(scorer: Scorer, completions: pa.Table, tmp_path: Path) -> None:
    bare = written(tmp_path / "bare.parquet", completions.drop_columns(["token_ids"]))
    with pytest.raises(UsageError, match=r"bare\.parquet has no column token_ids.*--texts"):
        units(scorer, tmp_path).score(Unit(str(bare), "base", True))
    strange = written(tmp_path / "strange.parquet", table_of("base", {FIRST.id: [([5, 4000], -1.0)]}))
    with pytest.raises(UsageError, match=r"strange\.parquet: token id 4000 is not in this model's vocabulary"):
        units(scorer, tmp_path).score(Unit(str(strange), "base", True))
