import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from stages.model import network as module
from stages.model.export import hugging_face_name, llama_config
from stages.model.network import IGNORED, Network, RMSNorm, Sizes, rope_tables, rotate


def sizes(**given: int | bool) -> Sizes:
    """A small network with grouped queries."""
    fields = {"vocab_size": 97, "context_tokens": 32, "num_layers": 2, "width": 32, "num_heads": 4, "num_kv_heads": 2}
    return Sizes(**{**fields, "hidden_width": 48, "tie_embeddings": True, **given})


def random_network(wanted: Sizes) -> Network:
    """Weights large enough that a wrong convention changes the logits by far more than rounding."""
    torch.manual_seed(1)
    network = Network(wanted)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return network.eval()


def llama(network: Network) -> LlamaForCausalLM:
    """The peer, built from the same numbers and given the same weights."""
    config = {k: v for k, v in llama_config(network.sizes, 0).items() if k not in ("architectures", "dtype")}
    theirs = LlamaForCausalLM(LlamaConfig(**config)).eval()
    weights = {hugging_face_name(name): p.detach() for name, p in network.named_parameters()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert missing == (["lm_head.weight"] if network.sizes.tie_embeddings else [])
    theirs.tie_weights()
    return theirs


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_logits_equal_llama(num_kv_heads: int, tied: bool) -> None:
    """The network computes what `transformers` computes for Llama, for every way to share heads and embeddings."""
    network = random_network(sizes(num_kv_heads=num_kv_heads, tie_embeddings=tied))
    tokens_BT = torch.randint(0, 97, (3, 32))
    with torch.no_grad():
        difference = (llama(network)(tokens_BT).logits - network.logits(tokens_BT)).abs().max()
    assert difference <= 1e-4


def test_gradients_equal_llama() -> None:
    """Loss and gradients agree with the peer's, so that training does, too."""
    network = random_network(sizes())
    theirs = llama(network)
    tokens_BT = torch.randint(0, 97, (3, 33))
    loss = network(tokens_BT[:, :-1], tokens_BT[:, 1:])
    loss.backward()
    logits = theirs(tokens_BT[:, :-1]).logits
    their_loss = cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten())
    their_loss.backward()
    assert float(loss.detach()) == pytest.approx(float(their_loss.detach()), rel=1e-6)
    found = dict(theirs.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, found[hugging_face_name(name)].grad, rtol=1e-4, atol=1e-6)


def test_rope_turns_pairs_half_a_head_apart() -> None:
    """Feature i and i + S/2 are the two coordinates of a point turned by position * theta^(-2i/S), in float64."""
    cos_TS, sin_TS = rope_tables(10, 8, 10_000.0)
    x_BHTS = torch.randn(1, 1, 10, 8, dtype=torch.float64)
    turned = rotate(x_BHTS, cos_TS.double(), sin_TS.double())
    for t in range(10):
        for i in range(4):
            angle = t * 10_000.0 ** (-2 * i / 8)
            a, b = float(x_BHTS[0, 0, t, i]), float(x_BHTS[0, 0, t, i + 4])
            assert float(turned[0, 0, t, i]) == pytest.approx(a * math.cos(angle) - b * math.sin(angle), abs=1e-5)
            assert float(turned[0, 0, t, i + 4]) == pytest.approx(b * math.cos(angle) + a * math.sin(angle), abs=1e-5)


def test_rms_norm_is_the_formula() -> None:
    """RMSNorm is x / sqrt(mean(x^2) + eps) * weight, as float64 arithmetic gives it."""
    norm = RMSNorm(16, 1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2.0, 16))
    x = torch.randn(5, 16) * 3
    expected = x.double() / (x.double().pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight.double()
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-6, atol=1e-6)


def test_rms_norm_keeps_the_type_of_its_input() -> None:
    """A bf16 stream stays bf16, with the mean taken in fp32."""
    x = torch.randn(4, 64).bfloat16()
    assert RMSNorm(64, 1e-5)(x).dtype == torch.bfloat16


def test_a_token_does_not_see_what_comes_after_it() -> None:
    """Changing later tokens leaves earlier logits as they were."""
    network = random_network(sizes())
    tokens_BT = torch.randint(0, 97, (1, 32))
    changed = tokens_BT.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 97
    with torch.no_grad():
        before, after = network.logits(tokens_BT), network.logits(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_masked_documents_are_documents_run_alone() -> None:
    """With a number for each position, a window of three documents has the logits and gradients of three windows."""
    network, lengths = random_network(sizes()), (7, 1, 24)
    tokens_BT, targets_BT = torch.randint(0, 97, (2, 32)), torch.randint(0, 97, (2, 32))
    documents_BT = torch.repeat_interleave(torch.tensor([5, 3, 5 + 1]), torch.tensor(lengths)).expand(2, 32)
    together = network(tokens_BT, targets_BT, "sum", documents_BT)
    together.backward()
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    pieces = zip(tokens_BT.split(lengths, 1), targets_BT.split(lengths, 1), strict=True)
    alone = sum((network(tokens, targets, "sum") for tokens, targets in pieces), torch.zeros(()))
    alone.backward()
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-6)
    for ours, parameter in zip(gradients, network.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-4)


def test_one_document_a_window_is_the_causal_mask() -> None:
    """A window that is one document gives what it gives without a mask."""
    network, tokens_BT = random_network(sizes()), torch.randint(0, 97, (2, 32))
    with torch.no_grad():
        masked, causal = network.hidden(tokens_BT, torch.zeros(2, 32)), network.hidden(tokens_BT)
    torch.testing.assert_close(masked, causal, rtol=1e-5, atol=1e-5)


def test_loss_in_pieces_is_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large logits are computed in pieces; loss and gradients do not change."""
    network = random_network(sizes())
    tokens_BT = torch.randint(0, 97, (4, 33))
    results = []
    for limit in (module.LOGITS_BYTES, 4 * 97 * 10):  # ten rows at a time, which does not divide 4 * 32
        monkeypatch.setattr(module, "LOGITS_BYTES", limit)
        network.zero_grad()
        loss = network(tokens_BT[:, :-1], tokens_BT[:, 1:])
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(whole, pieces, rtol=1e-5, atol=1e-6)


def test_ignored_targets_do_not_count() -> None:
    """The mean is over scored targets only, and the sum times their number is the same thing."""
    network = random_network(sizes())
    tokens_BT, targets_BT = torch.randint(0, 97, (2, 32)), torch.randint(0, 97, (2, 32))
    targets_BT[:, 10:] = IGNORED
    with torch.no_grad():
        mean, total = network(tokens_BT, targets_BT), network(tokens_BT, targets_BT, reduction="sum")
        short = network(tokens_BT[:, :10], targets_BT[:, :10])
    assert float(total) == pytest.approx(float(mean) * 20, rel=1e-6)
    assert float(mean) == pytest.approx(float(short), rel=1e-5)


def test_one_dial_sets_all_sizes() -> None:
    """Depth alone gives a network that can be built, at every depth, and given sizes stand."""
    for depth in range(1, 33):
        derived = Sizes.of_depth(depth, 1000, 128)
        assert derived.problems() == []
        assert derived.head_size == 64
        assert derived.hidden_width % 64 == 0
        assert 8 / 3 * derived.width <= derived.hidden_width < 8 / 3 * derived.width + 64
    given = Sizes.of_depth(2, 1000, 128, width=96, num_heads=6, num_kv_heads=3, hidden_width=100)
    assert (given.width, given.num_heads, given.num_kv_heads, given.hidden_width) == (96, 6, 3, 100)
    assert "width 96, num_heads 6" in given.describe()


def test_sizes_that_do_not_fit_are_named() -> None:
    """Both problems of a bad shape come in one list."""
    problems = Sizes.of_depth(1, 100, 8, width=100, num_heads=3, num_kv_heads=2).problems()
    assert len(problems) == 2
    assert "100" in problems[0]


def test_parameters_are_counted_once() -> None:
    """The number of weights is that of the formula, with a tied matrix counted once."""
    tied, untied = sizes(), sizes(tie_embeddings=False)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48 + 2 * 32
    assert Network(tied).num_parameters() == 97 * 32 + 2 * layer + 32
    assert Network(untied).num_parameters() == 2 * 97 * 32 + 2 * layer + 32


def test_a_new_network_knows_nothing() -> None:
    """Fresh weights give a loss near log V, the loss of guessing."""
    torch.manual_seed(0)
    network = Network(sizes())
    tokens_BT = torch.randint(0, 97, (8, 33))
    assert float(network(tokens_BT[:, :-1], tokens_BT[:, 1:]).detach()) == pytest.approx(math.log(97), abs=0.1)
