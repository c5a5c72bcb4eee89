"""A rank's stages of a pipeline, and what ranks of one pipeline send each other.

The layers that lie elsewhere are taken out of the network, whose parameters keep their names; the first stage has the
embedding, the last one the last norm and the head, and where these two share their weights, each has them. Called with
a `stage`, the network computes that stage; called without, as one calls a whole one for a measurement, ranks take what
the stage before sends and hand on what they make. What passes from rank to rank is the residual stream, in fp32.

Shapes: B sequences, T tokens (of this rank's part of a sequence), D width.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.model.network import Network, Reduction
from stages.model.timetable import layers_of

Arriving = tuple[dist.Work, Tensor]


class Stages:
    """The network's `forward` where it is one of several ranks of a pipeline."""

    def __init__(self, network: Network, group: dist.ProcessGroup, stages_per_rank: int) -> None:
        self.network, self.post = network, Post(group, network.embedding.weight.device)
        self.rank, self.num_ranks = group.rank(), group.size()
        self.num_stages = self.num_ranks * stages_per_rank
        sizes, head = network.sizes, 6 * network.sizes.vocab_size * network.sizes.width
        self.layers = layers_of(sizes.layer_operations, head, self.num_stages)
        self.own = range(self.rank, self.num_stages, self.num_ranks)
        self._take_out()
        self._loss = network.forward
        network.forward, network.hidden = self, self._hidden  # type: ignore[method-assign, assignment]

    def __call__(
        self,
        inputs: Tensor,
        targets_BT: Tensor,
        reduction: Reduction = "mean",
        documents_BT: Tensor | None = None,
        stage: int | None = None,
    ) -> Tensor:
        """One stage: the residual stream after it, or the loss after the last one.

        Without a `stage`, of tokens B T: the loss, on the ranks of the last stage; zeros on the others.
        """
        if stage is not None:
            return self._made(stage, inputs, documents_BT, (targets_BT, reduction))
        size = () if reduction in ("mean", "sum") else targets_BT.shape
        loss = torch.zeros(size, device=self.post.device)
        for one in self.own:
            found = self._made(one, self._taken(one, inputs), documents_BT, (targets_BT, reduction))
            if self.last(one):
                loss = found
            else:
                self.post.exchange((found, (one + 1) % self.num_ranks), [])
        return loss

    def last(self, stage: int) -> bool:
        """Whether it is the one that computes the loss."""
        return stage == self.num_stages - 1

    def room(self, num_sequences: int, num_tokens: int) -> Tensor:
        """Memory for the residual stream of so many sequences."""
        return torch.empty(num_sequences, num_tokens, self.network.sizes.width, device=self.post.device)

    def _made(
        self, stage: int, inputs: Tensor, documents_BT: Tensor | None, wanted: tuple[Tensor, Reduction]
    ) -> Tensor:
        if self.last(stage):
            return self._loss(inputs, *wanted, documents_BT)
        return self._through(stage, inputs, documents_BT)

    def _hidden(self, inputs: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """What the head takes, from what the last stage takes."""
        normal_BTD: Tensor = self.network.norm(self._through(self.num_stages - 1, inputs, documents_BT))
        return normal_BTD

    def _through(self, stage: int, inputs: Tensor, documents_BT: Tensor | None) -> Tensor:
        layers = self.layers[stage]
        x_BTD = inputs if stage else self.network.embedding(inputs)
        return self.network.through(x_BTD, documents_BT, slice(layers.start, layers.stop))

    def _taken(self, stage: int, tokens_BT: Tensor) -> Tensor:
        """What a stage starts from."""
        if not stage:
            return tokens_BT
        ((work, x_BTD),) = self.post.exchange(None, [((stage - 1) % self.num_ranks, self.room(*tokens_BT.shape))])
        work.wait()
        return x_BTD

    def _take_out(self) -> None:
        """Leave what this rank computes with."""
        network, first, last = self.network, self.rank == 0, self.rank == self.num_ranks - 1
        own = {layer for stage in self.own for layer in self.layers[stage]}
        for layer in set(range(len(network.blocks))) - own:
            network.blocks[layer] = nn.Identity()
        if not last:
            network.norm = network.head = nn.Identity()  # type: ignore[assignment]
        if not first and not (last and network.sizes.tie_embeddings):
            network.embedding = nn.Identity()  # type: ignore[assignment]


class Post:
    """Messages between the ranks of a group, none of which is waited for before it is needed."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        self.group, self.device = group, device
        self._sent: list[Arriving] = []
        dist.all_reduce(torch.zeros(1, device=device), group=group)  # NCCL wants all ranks of a group in its first call

    def exchange(self, sent: tuple[Tensor, int] | None, rooms: Sequence[tuple[int, Tensor]]) -> list[Arriving]:
        """Send a tensor to a rank, and receive those of other ranks, in one call; both sides call in the same order."""
        self._sent = [(work, tensor) for work, tensor in self._sent if not work.is_completed()]
        tensors = [room for _, room in rooms]
        calls = [dist.P2POp(dist.irecv, room, group=self.group, group_peer=rank) for rank, room in rooms]
        if sent is not None:
            tensors.append(sent[0].contiguous())
            calls.append(dist.P2POp(dist.isend, tensors[-1], group=self.group, group_peer=sent[1]))
        works = dist.batch_isend_irecv(calls) if calls else []
        if len(works) < len(calls):  # NCCL has one for all
            works = works * len(calls)
        pairs = list(zip(works, tensors, strict=True))
        self._sent += pairs[len(rooms) :]
        return pairs[: len(rooms)]
