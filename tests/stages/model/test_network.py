import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from stages.model import operations
from stages.model.export import hugging_face_config, hugging_face_name
from stages.model.network import IGNORED, Network, Sizes, rope_tables, rotate


def sizes(**given: Any) -> Sizes:
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


def peer(network: Network) -> PreTrainedModel:
    """Llama, or Qwen3 where queries and keys are normalised, built from the same numbers and given the same weights."""
    config = {k: v for k, v in hugging_face_config(network.sizes, 0).items() if k not in ("architectures", "dtype")}
    if network.sizes.qk_norm:
        theirs: PreTrainedModel = Qwen3ForCausalLM(Qwen3Config(**config)).eval()
    else:
        theirs = LlamaForCausalLM(LlamaConfig(**config)).eval()
    weights = {hugging_face_name(name): p.detach() for name, p in network.named_parameters()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert missing == (["lm_head.weight"] if network.sizes.tie_embeddings else [])
    theirs.tie_weights()
    return theirs


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_logits_equal_the_peers(num_kv_heads: int, tied: bool, qk_norm: bool) -> None:
    """The network computes what `transformers` computes, for every way to share heads and embeddings."""
    network = random_network(sizes(num_kv_heads=num_kv_heads, tie_embeddings=tied, qk_norm=qk_norm))
    tokens_BT = torch.randint(0, 97, (3, 32))
    with torch.no_grad():
        difference = (peer(network)(tokens_BT).logits - network.logits(tokens_BT)).abs().max()
    assert difference <= 1e-4


@pytest.mark.parametrize("qk_norm", [False, True])
def test_gradients_equal_the_peers(qk_norm: bool) -> None:
    """Loss and gradients agree with the peer's, so that training does, too."""
    network = random_network(sizes(qk_norm=qk_norm))
    theirs = peer(network)
    tokens_BT = torch.randint(1, 97, (3, 33))  # token 0 fills up in the peer, and has no gradient there
    loss = network(tokens_BT[:, :-1], tokens_BT[:, 1:])
    loss.backward()
    logits = theirs(tokens_BT[:, :-1]).logits
    their_loss = cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten())
    their_loss.backward()
    assert float(loss.detach()) == pytest.approx(float(their_loss.detach()), rel=1e-6)
    found = dict(theirs.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, found[hugging_face_name(name)].grad, rtol=1e-4, atol=1e-6)


def test_z_loss_has_a_gradient_and_no_value() -> None:
    """The loss is the cross entropy; its gradient is that of c log(Z)^2 more, over scored targets, also in pieces."""
    plain = random_network(sizes())
    tokens_BT, targets_BT = torch.randint(0, 97, (2, 32)), torch.randint(0, 97, (2, 32))
    targets_BT[:, 25:] = IGNORED
    held = Network(sizes(), z_loss=0.1)
    held.load_state_dict(plain.state_dict())
    loss = held(tokens_BT, targets_BT, "sum")
    loss.backward()
    logits = plain.logits(tokens_BT)[:, :25]
    entropy = cross_entropy(logits.flatten(0, 1), targets_BT[:, :25].flatten(), reduction="sum")
    (entropy + 0.1 * logits.exp().sum(-1).log().square().sum()).backward()
    assert float(loss.detach()) == pytest.approx(float(entropy.detach()), rel=1e-6)
    for ours, expected in zip(held.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_labels_are_drawn_from_the_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many draws a token comes as often as the network says, and a seed gives the same labels again."""
    network, tokens_BT = random_network(sizes(vocab_size=7)), torch.randint(0, 7, (1, 5))
    with torch.no_grad():
        expected = network.logits(tokens_BT)[0].softmax(-1)
    many_BT, chance = tokens_BT.expand(4000, 5), torch.Generator().manual_seed(1)
    monkeypatch.setitem(operations.LOGITS_BYTES, "cpu", 4 * 7 * 3000)
    drawn_BT = network.draw(many_BT, None, chance)
    found = torch.nn.functional.one_hot(drawn_BT, 7).double().mean(0)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=0.04)
    assert torch.equal(drawn_BT, network.draw(many_BT, None, torch.Generator().manual_seed(1)))


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


def test_a_new_network_knows_nothing() -> None:
    """Fresh weights give a loss near log V, the loss of guessing."""
    torch.manual_seed(0)
    network = Network(sizes())
    tokens_BT = torch.randint(0, 97, (8, 33))
    assert float(network(tokens_BT[:, :-1], tokens_BT[:, 1:]).detach()) == pytest.approx(math.log(97), abs=0.1)
