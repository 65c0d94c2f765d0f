"""The four behaviours: the paper's rows, the cut-offs, and when the data do not decide."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.behaviour import (
    EXPANSION,
    EXPLORATION,
    REDISTRIBUTION,
    SUPPORT_CONSTRAINED,
    UNDECIDED,
    UNDEFINED,
    Behaviour,
    behaviour,
)
from leash_ray.stats.support import Support

NAN = math.nan


def of(p: int, e: int, s: int, width: float = 0.0) -> Behaviour:
    m = Support(p, e, s, None).metrics()
    around = {name: (value - width, value + width) for name, value in m.items()}
    return behaviour(m["SRR"], around["SRR"], m["NDR"], around["NDR"], m["NSCR"], around["NSCR"])


@pytest.mark.parametrize(
    ("counts", "label", "net"),
    [
        ((2400, 36, 163), SUPPORT_CONSTRAINED, "net shrinkage"),  # ProRL-1.5B-v1: SRR 0.94, NDR 0.02
        ((781, 3, 4), SUPPORT_CONSTRAINED, "net shrinkage"),  # Kangheng-OVR-7B
        ((14, 5, 1), EXPANSION, "net expansion"),  # SFT on AIME25: SRR 0.933, NDR 0.263
        ((15, 4, 4), EXPLORATION, UNDECIDED),  # SFT on AIME24: SRR 0.789, NDR 0.211
        ((138, 12, 34), REDISTRIBUTION, "net shrinkage"),  # DAPO on Minerva: SRR 0.802, NDR 0.080
    ],
)
def test_the_papers_rows(counts: tuple[int, int, int], label: str, net: str) -> None:
    assert of(*counts) == Behaviour(label, label, (label,), net)


def test_a_tenth_is_much() -> None:
    assert of(9, 0, 1).label == REDISTRIBUTION and of(10, 0, 1).label == SUPPORT_CONSTRAINED
    assert of(9, 1, 0).label == EXPANSION and of(10, 1, 0).label == SUPPORT_CONSTRAINED


def test_an_interval_across_the_cut_leaves_it_open() -> None:
    found = behaviour(0.92, (0.85, 0.97), 0.02, (0, 0.05), -0.06, (-0.1, -0.01))
    assert found == Behaviour(UNDECIDED, SUPPORT_CONSTRAINED, (SUPPORT_CONSTRAINED, REDISTRIBUTION), "net shrinkage")
    found = behaviour(0.85, (0.7, 0.95), 0.12, (0.05, 0.3), 0.0, (-0.1, 0.1))
    assert found.label == UNDECIDED and found.suggested == EXPLORATION and len(found.possible) == 4


def test_a_label_that_only_the_interval_supports_is_none() -> None:
    # A skewed bootstrap may leave the estimate outside; then nothing is decided.
    assert behaviour(0.95, (0.5, 0.8), 0.0, (0, 0), 0, (0, 0)).label == UNDECIDED


def test_undefined() -> None:
    nothing = (NAN, NAN)
    assert behaviour(NAN, nothing, NAN, nothing, NAN, nothing) == Behaviour(UNDEFINED, UNDEFINED, (), UNDEFINED)
    assert behaviour(NAN, nothing, 1, (1, 1), 1, (1, 1)) == Behaviour(UNDEFINED, UNDEFINED, (), "net expansion")
    unsure = behaviour(0.95, nothing, 0, (0, 0), 0, nothing)
    assert (unsure.label, unsure.suggested, unsure.net) == (UNDECIDED, SUPPORT_CONSTRAINED, UNDECIDED)


SWAPPED = {EXPANSION: REDISTRIBUTION, REDISTRIBUTION: EXPANSION, "net expansion": "net shrinkage"}
SWAPPED["net shrinkage"] = "net expansion"


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 20), st.sampled_from([0, 0.03, 0.2]))
def test_swapping_the_policies_turns_expansion_into_redistribution(p: int, e: int, s: int, width: float) -> None:
    one, other = of(p, e, s, width), of(p, s, e, width)
    assert other.suggested == SWAPPED.get(one.suggested, one.suggested)
    assert other.net == SWAPPED.get(one.net, one.net)
    assert (one.label == UNDECIDED) == (len(one.possible) > 1)  # the estimate lies in its interval


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), st.floats(0, 0.2), st.floats(0, 0.2))
def test_wider_intervals_only_open_what_was_decided(p: int, e: int, s: int, a: float, b: float) -> None:
    narrow, wide = of(p, e, s, min(a, b)), of(p, e, s, max(a, b))
    assert set(narrow.possible) <= set(wide.possible)
    assert wide.label in (narrow.label, UNDECIDED)


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="share of the support"):
        behaviour(1, (1, 1), 0, (0, 0), 0, (0, 0), cut=10)
    with pytest.raises(ValueError, match=r"\(low, high\)"):
        behaviour(1, (1, 0.9), 0, (0, 0), 0, (0, 0))
