"""The arrays of Megatron's order, built and written source by source. Loads a compiler: only this order pays for it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stages.base import num_workers
from stages.index import Index
from stages.index.arrays import FOLDER, write_rows
from stages.stream.corpus import Dataset
from stages.stream.gpt_index import Cutting, build
from stages.stream.megatron_arrays import build_blend, demand, write_arrays
from stages.stream.order import Indices
from stages.tables import Outputs


class Megatron:
    """The arrays of Megatron's order, of the datasets (by number) that `weights` names."""

    def __init__(self, stage: Index, weights: Mapping[str, float], datasets: Sequence[Dataset]) -> None:
        self.stage, self.num_datasets = stage, len(datasets)
        self.taken = [(k, d) for k, d in enumerate(datasets) if d.source in weights]
        self.cutting = Cutting(stage.sequence_tokens)
        shares = [weights[d.source] for _, d in self.taken]
        self.demand = demand(shares, stage.num_steps * stage.batch_sequences)

    def build_sources(self, mine: Iterable[str], outputs: Outputs) -> None:
        """Store document, sample and shuffle index of these sources."""
        own = set(mine)
        for (number, dataset), num_samples in zip(self.taken, self.demand.datasets, strict=True):
            if dataset.source in own:
                lengths = dataset.document_lengths()
                indices = build(lengths, self.cutting, self.stage.seed, num_samples, num_workers())
                write_rows(dataset.source, write_arrays(outputs.folder / FOLDER, f"{number:05d}", indices), outputs)

    def build_blend(self, outputs: Outputs) -> Indices:
        """Store the blend; return how many samples the run takes of each dataset."""
        sizes = {dataset.source: len(dataset) for _, dataset in self.taken}
        blend = build_blend(self.demand, sizes, self.cutting, num_workers())
        write_rows("", write_arrays(outputs.folder / FOLDER, "blend", blend), outputs)
        counts = np.zeros(self.num_datasets, np.int64)
        numbers = [number for number, _ in self.taken]
        counts[numbers] = np.bincount(blend.dataset_index[: self.demand.num_samples], minlength=len(numbers))
        return counts
