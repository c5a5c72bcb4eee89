import math
from itertools import pairwise

import pytest

from stages.model.network import Network, Sizes
from stages.model.schedule import cosine, parameter_groups


def test_warm_up_is_a_line_to_the_peak() -> None:
    """The rate grows by equal steps and is the peak when warm-up ends."""
    rates = [cosine(step, 1.0, 10, 100) for step in range(1, 11)]
    assert rates == pytest.approx([s / 10 for s in range(1, 11)])


def test_decay_is_half_a_cosine_to_a_tenth() -> None:
    """Half way down the rate is the mean of peak and end; the last step has a tenth of the peak; never up again."""
    rates = [cosine(step, 2.0, 10, 110) for step in range(10, 111)]
    assert rates[50] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[-1] == pytest.approx(0.2)
    assert all(a > b for a, b in pairwise(rates))
    assert rates[25] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2)


def test_no_warm_up_starts_high() -> None:
    """Without warm-up the first step is one step down from the peak, and no step has rate zero."""
    assert 0.9 < cosine(1, 1.0, 0, 100) < 1.0
    assert min(cosine(step, 1.0, 0, 100) for step in range(1, 101)) == pytest.approx(0.1)


@pytest.mark.parametrize("tied", [True, False])
def test_norms_and_embeddings_do_not_decay(tied: bool) -> None:
    """Every weight is in one group; the decaying one holds matrices of layers and an untied head, nothing else."""
    network = Network(Sizes.of_depth(2, 50, 8, tie_embeddings=tied, width=32))
    names = {id(p): name for name, p in network.named_parameters()}
    decayed, kept = ({names[id(p)] for p in g["params"]} for g in parameter_groups(network, 0.3))
    assert decayed | kept == set(names.values())
    assert kept == {n for n in names.values() if "norm" in n or n == "embedding.weight"}
    assert ("head.weight" in decayed) is not tied
    assert [g["weight_decay"] for g in parameter_groups(network, 0.3)] == [0.3, 0.0]
