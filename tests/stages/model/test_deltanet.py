"""The chunked computation against the plain recurrence in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.model.deltanet import CHUNK, GatedDeltaNet, Written, convolve, delta_rule
from stages.model.network import Network, Sizes


def written(num_tokens: int, seed: int = 0) -> Written:
    """Two sequences, three heads of size 8: keys of length 1, fades from almost all to almost nothing."""
    chance = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, 3, num_tokens, 8, generator=chance) for _ in range(3))
    fade = -torch.rand(2, 3, num_tokens, generator=chance).mul(7).sub(6).exp()
    strength = torch.rand(2, 3, num_tokens, generator=chance)
    norm = torch.nn.functional.normalize
    return Written(norm(query, dim=-1), norm(key, dim=-1), value, fade, strength)


def recurrence(written: Written, documents_BT: Tensor | None = None) -> np.ndarray:
    """Token after token, in float64: S = a (I - b k k') S + b k v', read by q."""
    query, key, value, fade, strength = (x.detach().double().numpy() for x in written)
    sequences, heads, num_tokens, size = query.shape
    read = np.zeros_like(query)
    for b in range(sequences):
        for h in range(heads):
            state = np.zeros((size, size))
            for t in range(num_tokens):
                if documents_BT is not None and t and documents_BT[b, t] != documents_BT[b, t - 1]:
                    state[:] = 0
                k = key[b, h, t]
                state = np.exp(fade[b, h, t]) * (state - strength[b, h, t] * np.outer(k, k @ state))
                state += strength[b, h, t] * np.outer(k, value[b, h, t])
                read[b, h, t] = state.T @ query[b, h, t] / math.sqrt(size)
    return read


@pytest.mark.parametrize("num_tokens", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 5])
def test_chunks_are_the_recurrence(num_tokens: int) -> None:
    """For less than a chunk, a whole one and some more, the products give what token after token gives."""
    some = written(num_tokens)
    np.testing.assert_allclose(delta_rule(some).numpy(), recurrence(some), rtol=1e-4, atol=2e-6)


def test_documents_start_from_nothing() -> None:
    """With borders inside chunks, at their edges and across several, each document is read as if it were alone."""
    some, borders = written(4 * CHUNK, 1), [5, CHUNK - 5, CHUNK, 7, 2 * CHUNK - 7]
    documents_BT = torch.repeat_interleave(torch.tensor([4, 2, 9, 4, 1]), torch.tensor(borders)).expand(2, -1)
    found = delta_rule(some, documents_BT)
    np.testing.assert_allclose(found.numpy(), recurrence(some, documents_BT), rtol=1e-4, atol=2e-6)
    start = 0
    for length in borders:
        alone = delta_rule(Written(*(x[:, :, start : start + length] for x in some)))
        torch.testing.assert_close(found[:, :, start : start + length], alone, rtol=1e-4, atol=2e-6)
        start += length


def test_gradients_are_those_of_the_recurrence() -> None:
    """Autograd through the chunks agrees with finite differences of the recurrence in float64."""
    some = written(CHUNK + 3, 2)
    weights = torch.randn(some.query_BHTS.shape, generator=torch.Generator().manual_seed(3))
    learned = Written(*(x.clone().requires_grad_() for x in some))
    (delta_rule(learned) * weights).sum().backward()
    for part, (tensor, found) in enumerate(zip(some, learned, strict=True)):
        place = (1, 2, 1, 4)[: tensor.ndim]
        values = []
        for step in (1e-4, -1e-4):
            moved = [x.double().clone() for x in some]
            moved[part][place] += step
            values.append((recurrence(Written(*moved)) * weights.double().numpy()).sum())
        assert found.grad is not None
        assert float(found.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-3, abs=1e-4)


def test_a_convolution_is_a_sum_over_the_last_four() -> None:
    """Each output is a weighted sum of this token and the three before it, of its own document only."""
    chance = torch.Generator().manual_seed(4)
    x_BTD, taps_CD = torch.randn(2, 9, 5, generator=chance), torch.randn(4, 5, generator=chance)
    documents_BT = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2], [0] * 9])
    for documents in (None, documents_BT):
        found = convolve(x_BTD, taps_CD, documents)
        for b in range(2):
            for t in range(9):
                same = [j for j in range(4) if t >= j and (documents is None or documents[b, t - j] == documents[b, t])]
                expected = sum((x_BTD[b, t - j] * taps_CD[j] for j in same), torch.zeros(5))
                torch.testing.assert_close(found[b, t], expected)


def mixed_network() -> Network:
    """Two linear layers for each of attention."""
    torch.manual_seed(5)
    sizes = Sizes.of_depth(3, 61, 160, width=32, num_heads=2, layers="deltanet, deltanet, attention")
    network = Network(sizes)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return network


def test_a_pattern_of_layers_repeats() -> None:
    """Kinds follow the pattern over the depth, and the count of weights is that of the modules."""
    sizes = Sizes.of_depth(5, 61, 32, width=32, num_heads=2, layers="deltanet,attention")
    assert sizes.kinds == ("deltanet", "attention", "deltanet", "attention", "deltanet")
    network = Network(sizes)
    assert [isinstance(b.attention, GatedDeltaNet) for b in network.blocks] == [True, False, True, False, True]
    assert sizes.num_parameters == network.num_parameters()


def test_a_token_does_not_see_what_comes_after_it() -> None:
    """Changing later tokens leaves earlier logits as they were, across chunks too."""
    network, tokens_BT = mixed_network().eval(), torch.randint(0, 61, (1, 160))
    changed = tokens_BT.clone()
    changed[:, 100:] = (changed[:, 100:] + 1) % 61
    with torch.no_grad():
        before, after = network.logits(tokens_BT), network.logits(changed)
    torch.testing.assert_close(before[:, :100], after[:, :100], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[:, 100:], after[:, 100:], rtol=1e-2)


def test_masked_documents_are_documents_run_alone() -> None:
    """In a mixed network, too, a window of documents has the loss of its documents alone."""
    network, lengths = mixed_network(), (70, 2, 88)
    tokens_BT, targets_BT = torch.randint(0, 61, (2, 160)), torch.randint(0, 61, (2, 160))
    documents_BT = torch.repeat_interleave(torch.tensor([0, 1, 2]), torch.tensor(lengths)).expand(2, 160)
    with torch.no_grad():
        together = network(tokens_BT, targets_BT, "sum", documents_BT)
        pieces = zip(tokens_BT.split(lengths, 1), targets_BT.split(lengths, 1), strict=True)
        alone = sum((network(tokens, targets, "sum") for tokens, targets in pieces), torch.zeros(()))
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_it_remembers() -> None:
    """A layer of linear attention learns to name, at the end of a window, the token at its start, out of the convolution's reach."""
    torch.manual_seed(6)
    network = Network(Sizes.of_depth(1, 16, 24, width=64, num_heads=2, layers="deltanet"))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(60):
        tokens_BT = torch.cat((torch.randint(1, 16, (32, 1)), torch.zeros(32, 23, dtype=torch.long)), 1)
        targets_BT = torch.where(torch.arange(24) == 23, tokens_BT[:, :1], -100)
        loss = network(tokens_BT, targets_BT)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


def test_bf16_products_keep_an_fp32_state() -> None:
    """Under autocast the loss follows that of fp32 to a percent."""
    network, tokens_BT = mixed_network(), torch.randint(0, 61, (2, 129))
    with torch.no_grad():
        exact = network(tokens_BT[:, :-1], tokens_BT[:, 1:])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(tokens_BT[:, :-1], tokens_BT[:, 1:])
    assert float(rounded) == pytest.approx(float(exact), rel=0.01)
