"""The logits gate: what a folder computes on stored probe tokens must be what its source computed.

A wrong rotary convention, tie, epsilon or order of shards gives a model that still talks, only worse, and no shape shows it. So a
folder carries `probe.safetensors`: tokens (B T, int64) and the source's logits for them (B T V, fp32), and every conversion
compares. Where they differ, the likely conventions are tried, so that the message can name the one that would agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.table import ContractError
from stages.model.exchange.carried import Carried, in_convention

FILE = "probe.safetensors"
MAX_DIFFERENCE = 1e-5  # of fp32 logits, a unit of the largest one or of 1
PROBE_SHAPE = (2, 24)  # sequences, tokens: enough that positions, the mask and every head matter
EPSILONS, THETAS = (1e-5, 1e-6), (10_000.0, 50_000.0, 500_000.0)


@dataclass(frozen=True)
class Probe:
    """Tokens and what the source's own code computed for them, in fp32."""

    tokens_BT: Tensor
    logits_BTV: Tensor

    def save(self, folder: Path) -> None:
        """Beside the weights."""
        save_file({"tokens": self.tokens_BT, "logits": self.logits_BTV}, folder / FILE)


def read_probe(file: Path) -> Probe | None:
    """The stored probe, None where there is no such file; `ContractError` where it is not one."""
    if not file.is_file():
        return None
    stored = load_file(file)
    if missing := [name for name in ("tokens", "logits") if name not in stored]:
        raise ContractError(str(file), [f"a probe has tokens (B T) and logits (B T V); missing: {', '.join(missing)}"])
    if stored["tokens"].shape != stored["logits"].shape[:2]:
        shapes = f"tokens {list(stored['tokens'].shape)}, logits {list(stored['logits'].shape)}"
        raise ContractError(str(file), [f"{shapes}: expected B T and B T V"])
    return Probe(stored["tokens"], stored["logits"].float())


def probe_tokens(vocab_size: int, context_tokens: int) -> Tensor:
    """Seeded tokens from the whole vocabulary."""
    sequences, tokens = PROBE_SHAPE
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocab_size, (sequences, min(tokens, context_tokens)), generator=generator)


def logits(carried: Carried, tokens_BT: Tensor) -> Tensor:
    """What our network computes, fp32."""
    with torch.no_grad():
        return carried.network().logits(tokens_BT)


def difference(found_BTV: Tensor, expected_BTV: Tensor) -> float:
    """The largest difference, a unit of the largest expected logit or of 1; infinite where shapes or numbers do not match."""
    if found_BTV.shape != expected_BTV.shape or not bool(found_BTV.isfinite().all()):
        return float("inf")
    return float((found_BTV - expected_BTV).abs().max() / expected_BTV.abs().max().clamp(min=1.0))


def check(carried: Carried, probe: Probe) -> float:
    """The difference from the probe; `ContractError`, with the convention that would agree if one does, where it is too large."""
    vocab_size = carried.sizes.vocab_size
    if probe.logits_BTV.shape[-1] != vocab_size:
        words = f"the probe has logits for {probe.logits_BTV.shape[-1]} words, the weights for {vocab_size}"
        raise ContractError(carried.where, [f"{words}: another model's probe, or a wrong vocabulary size"])
    found = difference(logits(carried, probe.tokens_BT), probe.logits_BTV)
    if found > MAX_DIFFERENCE:
        refuse(carried, probe, found)
    return found


def refuse(carried: Carried, probe: Probe, found: float) -> None:
    """Raise, and say what would agree."""
    problems = [f"logits on the probe tokens differ by {found:.1e} of the largest, allowed are {MAX_DIFFERENCE:.0e}"]
    agreeing = [words for words, other in alternatives(carried) if _agrees(other, probe)]
    if agreeing:
        problems.append(f"they agree with {' or with '.join(agreeing)}: convert again so")
    else:
        problems.append(
            "no other convention agrees: shards in a wrong order, another step's weights, or another model's probe"
        )
    raise ContractError(carried.where, problems)


def alternatives(carried: Carried) -> Iterator[tuple[str, Carried]]:
    """The model under other conventions, each with its words."""
    sizes, head_size = carried.sizes, carried.sizes.head_size
    turned = in_convention(carried.weights, head_size, to="rotate-half")
    yield "--rope interleaved", replace(carried, weights=turned)
    turned = in_convention(carried.weights, head_size, to="interleaved")
    yield "--rope rotate-half", replace(carried, weights=turned)
    for epsilon in EPSILONS:
        if epsilon != sizes.norm_eps:
            yield f"norm epsilon {epsilon:.0e}", replace(carried, sizes=replace(sizes, norm_eps=epsilon))
    for theta in THETAS:
        if theta != sizes.rope_theta:
            yield f"rope theta {theta:.0f}", replace(carried, sizes=replace(sizes, rope_theta=theta))
    if not sizes.tie_embeddings:
        weights = {name: w for name, w in carried.weights.items() if name != "head.weight"}
        yield "tied embeddings", replace(carried, sizes=replace(sizes, tie_embeddings=True), weights=weights)
    gates = {name: carried.weights[_exchanged(name)] for name in carried.weights}
    yield "gate and up exchanged", replace(carried, weights=gates)


def _agrees(carried: Carried, probe: Probe) -> bool:
    return difference(logits(carried, probe.tokens_BT), probe.logits_BTV) <= MAX_DIFFERENCE


def _exchanged(name: str) -> str:
    first, second = "feed_forward.gate.", "feed_forward.up."
    if first in name:
        return name.replace(first, second)
    return name.replace(second, first)
