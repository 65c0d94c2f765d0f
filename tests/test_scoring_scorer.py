"""The scorer against a float64 softmax over all positions and the whole vocabulary, and what must not matter to it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig, LlamaConfig

from leash_ray.deploy import resolve_model
from leash_ray.scoring.scorer import Scorer, Tokens, logprobs_and_entropies

V = 97


def tiny(kind: type = LlamaConfig, **changes: object) -> torch.nn.Module:
    """A random model whose distributions are neither flat nor sharp."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = kind(
        vocab_size=V, num_key_value_heads=2, head_dim=8, max_position_embeddings=128, pad_token_id=0,
        tie_word_embeddings=False, initializer_range=0.25, **shape, **changes,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


@pytest.fixture(scope="module")
def llama() -> torch.nn.Module:
    return tiny()


@pytest.fixture(scope="module")
def embedded() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(resolve_model("embedded:countdown"), dtype=torch.float32)


def reference(
    network: torch.nn.Module, prompt: list[int], tokens: list[int], temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """The definition, in float64 to the last sum: all [L, V] at once."""
    import copy

    wide = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        logits = wide(input_ids=torch.tensor([prompt + tokens])).logits[0].numpy() / temperature
    logprobs, entropies = [], []
    for i, token in enumerate(tokens):
        row = logits[len(prompt) - 1 + i]
        p = np.exp(row - row.max())
        p /= p.sum()
        logprobs.append(math.log(p[token]))
        entropies.append(-sum(x * math.log(x) for x in p.tolist() if x > 0))
    return np.array(logprobs), np.array(entropies)


def sequences(vocabulary: int, lengths: list[tuple[int, int]], seed: int = 1) -> list[tuple[list[int], list[int]]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, vocabulary, p).tolist(), rng.integers(0, vocabulary, t).tolist()) for p, t in lengths]


def assert_close(scored: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], atol: float) -> None:
    for found, wanted in zip(scored, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("temperature", [0.3, 0.6, 1.0, 2.5])
def test_tokens_are_scored_as_float64_scores_them(llama: torch.nn.Module, temperature: float) -> None:
    scorer = Scorer(llama)
    for prompt, tokens in sequences(V, [(1, 1), (1, 9), (7, 30), (60, 2)]):
        scored = scorer.score(prompt, tokens, temperature)
        assert_close(scored, reference(llama, prompt, tokens, temperature), 5e-5)
        assert scored.logprob_sum == pytest.approx(scored.logprobs.astype(float).sum())


def test_the_embedded_model_s_own_kind_of_text(embedded: torch.nn.Module) -> None:
    """As sampling writes it (22 of 112 tokens are used, so most of the vocabulary has next to no probability), with and
    without the end of sequence; a cut-off completion is scored over the tokens that it has."""
    from leash_ray.prompting.template import load_tokenizer

    tokenizer = load_tokenizer(resolve_model("embedded:countdown"))
    prompt = tokenizer("2 3 9=21:")["input_ids"]
    whole = [*tokenizer("9*2+3")["input_ids"], embedded.config.eos_token_id]
    scorer = Scorer(embedded)
    for tokens in (whole, whole[:-1], whole[:3]):
        for temperature in (1.0, 0.6):
            scored = scorer.score(prompt, tokens, temperature)
            assert_close(scored, reference(embedded, prompt, tokens, temperature), 5e-5)
    # What comes later does not change what came before.
    cut, full = scorer.score(prompt, whole[:3]), scorer.score(prompt, whole)
    assert_close(cut, (full.logprobs[:3], full.entropies[:3]), 1e-5)


def test_hand_worked_distributions() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.2, 0.2, 0.6]], dtype=torch.float64))
    logprobs, entropies = logprobs_and_entropies(logits, torch.tensor([1, 0, 2]), 1.0)
    assert logprobs.tolist() == pytest.approx([math.log(0.25), 0.0, math.log(0.6)])
    # 1.5 bits; a sure thing, though two logits are minus infinity; 0.4 ln 5 + 0.6 ln (5/3).
    expected = [1.5 * math.log(2), 0.0, 0.4 * math.log(5) + 0.6 * math.log(5 / 3)]
    assert entropies.tolist() == pytest.approx(expected, abs=1e-7)
    # At temperature 1/2 probabilities are squared: 4:1:1.
    logprobs, entropies = logprobs_and_entropies(logits[:1], torch.tensor([0]), 0.5)
    assert logprobs.tolist() == pytest.approx([math.log(4 / 6)])
    assert entropies.tolist() == pytest.approx([-(4 / 6) * math.log(4 / 6) - 2 / 6 * math.log(1 / 6)])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=8),
    st.sampled_from([1, 40, 100, 10**6]),
    st.sampled_from([1, V * 16, V * 16 * 7, 2**28]),
)
def test_neither_neighbours_nor_padding_nor_chunks_matter(
    llama: torch.nn.Module, lengths: list[tuple[int, int]], batch_tokens: int, logits_bytes: int
) -> None:
    given_ = [Tokens(*s) for s in sequences(V, lengths)]
    alone = Scorer(llama)
    told: list[int] = []
    found = Scorer(llama, batch_tokens, logits_bytes).score_many(given_, [1.0, 0.7], told.extend)
    assert sorted(told) == list(range(len(given_)))
    for tokens, (at_1, at_07) in zip(given_, found, strict=True):
        assert_close(at_1, alone.score(*tokens), 2e-5)
        assert_close(at_07, alone.score(*tokens, temperature=0.7), 2e-5)
        assert len(at_1.entropies) == len(tokens.token_ids)


def test_the_whole_vocabulary_is_only_there_for_a_chunk(
    llama: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head sees at most as many positions as the bound allows, and none of the prompt's."""
    scorer = Scorer(llama, logits_bytes=V * 16 * 5)
    seen = []
    head = scorer._head.logits
    monkeypatch.setattr(scorer._head, "logits", lambda hidden: (seen.append(len(hidden)), head(hidden))[1])
    scorer.score_many([Tokens([1] * 50, [2] * 12), Tokens([3] * 9, [4])])
    assert (sum(seen), max(seen)) == (13, 5)


def test_batches_hold_sequences_of_about_one_length() -> None:
    scorer = Scorer(tiny(), batch_tokens=20)
    assert list(scorer._batches([3, 10, 4, 9, 30, 3])) == [[4], [1, 3], [2, 0, 5]]
    assert list(scorer._batches([])) == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Gemma2Config, {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}),
        (GraniteConfig, {"logits_scaling": 4.0}),
    ],
)
def test_what_a_family_does_to_its_logits_is_done(kind: type, changes: dict[str, object]) -> None:
    network = tiny(kind, **changes)
    (prompt, tokens), *_ = sequences(V, [(6, 20)])
    assert_close(Scorer(network).score(prompt, tokens), reference(network, prompt, tokens, 1.0), 1e-4)


def test_a_head_that_is_not_the_whole_story_is_refused() -> None:
    network = tiny()
    network.lm_head.register_forward_hook(lambda module, args, out: out * 1.5)
    with pytest.raises(ValueError, match="are not those of its head"):
        Scorer(network)


def test_a_model_in_16_bits_is_scored_with_a_float32_head() -> None:
    network = tiny()
    (prompt, tokens), *_ = sequences(V, [(6, 20)])
    expected = reference(network, prompt, tokens, 1.0)
    scored = Scorer(network.bfloat16()).score(prompt, tokens)
    assert scored.entropies.dtype == np.float32
    assert np.abs(scored.entropies - expected[1]).mean() < 0.1


def test_what_cannot_be_scored_is_refused(llama: torch.nn.Module) -> None:
    scorer = Scorer(llama)
    with pytest.raises(ValueError, match="a prompt has no tokens"):
        scorer.score([], [1, 2])
    with pytest.raises(ValueError, match=f"token id {V} is not in this model's vocabulary of {V}"):
        scorer.score([1], [V])
    with pytest.raises(ValueError, match="token id -1"):
        scorer.score([-1], [0])
    with pytest.raises(ValueError, match="above 0"):
        scorer.score([1], [2], temperature=0.0)
    assert scorer.score([1], []).logprob_sum == 0.0
