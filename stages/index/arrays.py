"""The arrays that an order stores, as `.npy` files of this stage's output: best-fit bins, source by source."""

from schemas.tokens import IndexFile
from stages.index import Index
from stages.stream.corpus import Dataset
from stages.stream.packing import pack
from stages.tables import Outputs

FOLDER = "files"


def pack_source(stage: Index, number: int, dataset: Dataset, outputs: Outputs) -> int:
    """Pack dataset `number`, write the rows of its arrays, and return how many samples it has."""
    ends, spans = (outputs.folder / FOLDER / f"{number:05d}-{name}.npy" for name in ("bin_ends", "bin_spans"))
    packed = pack(dataset, stage.sequence_tokens, ends, spans)
    outputs["arrays"].write(IndexFile(source=dataset.source, name="bin_ends", file=outputs.blob(ends)))
    outputs["arrays"].write(IndexFile(source=dataset.source, name="bin_spans", file=outputs.blob(spans)))
    print(
        f"{dataset.source}: {packed.num_documents:,} documents in {packed.num_bins:,} samples, "
        f"{packed.padding_fraction:.2%} empty; {packed.num_cut:,} of them cut, {packed.num_cut_contiguous:,} without packing",
        flush=True,
    )
    return packed.num_bins
