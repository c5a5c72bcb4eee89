"""The same on `gpu`."""

from stages.toy import Toy


class ToyGpu(Toy):
    """Numbered rows, with a fault in the middle."""

    name = "toy_gpu"
    resources = "gpu"
