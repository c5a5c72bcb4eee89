"""The arrays that an order stores, as `.npy` files of this stage's output: here best-fit bins, and the rows of all."""

from collections.abc import Mapping
from pathlib import Path

from schemas.tokens import IndexFile
from stages.index import Index
from stages.stream.corpus import Dataset
from stages.stream.packing import pack
from stages.tables import Outputs

FOLDER = "files"


def pack_source(stage: Index, number: int, dataset: Dataset, outputs: Outputs) -> int:
    """Pack dataset `number`, write the rows of its arrays, and return how many samples it has."""
    names = ("bin_ends", "bin_spans")
    files = {name: outputs.folder / FOLDER / f"{number:05d}-{name}.npy" for name in names}
    packed = pack(dataset, stage.sequence_tokens, *files.values())
    write_rows(dataset.source, files, outputs)
    print(
        f"{dataset.source}: {packed.num_documents:,} documents in {packed.num_bins:,} samples, "
        f"{packed.padding_fraction:.2%} empty; {packed.num_cut:,} of them cut, {packed.num_cut_contiguous:,} without packing",
        flush=True,
    )
    return packed.num_bins


def write_rows(source: str, files: Mapping[str, Path], outputs: Outputs) -> None:
    """Write the rows of a source's files, by name; the blend's have no source."""
    for name, file in files.items():
        outputs["arrays"].write(IndexFile.model_validate({"source": source, "name": name, "file": outputs.blob(file)}))
