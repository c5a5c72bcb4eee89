"""The same on `gpus`."""

from stages.toy import Toy


class ToyGpus(Toy):
    """Numbered rows, with a fault in the middle."""

    name = "toy_gpus"
    resources = "gpus"
