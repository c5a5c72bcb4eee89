"""How the sketches were made, so that texts read a second time, and decoys, are cut and hashed in the same way."""

import hashlib
import json

from schemas.table import ContractError
from stages.sketch import Sketch
from stages.sketch.minhash import MinHash
from stages.tables import Reader


class Family:
    """The settings of `sketch`. `digest` names them: keys of another family mean nothing to these."""

    def __init__(self, settings: Sketch, version: int) -> None:
        self.settings = settings
        made = {"version": version, **settings.model_dump(mode="json")}
        self.digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
        self.minhash = MinHash(settings.num_bands, settings.rows_per_band, settings.seed, settings.ngram_words)

    @classmethod
    def of(cls, sketches: Reader) -> "Family":
        """The family of a table of sketches, from its manifest."""
        if sketches.manifest.stage != Sketch.name:
            raise ContractError("sketches", [f"made by {sketches.manifest.stage}, expected {Sketch.name}"])
        return cls(Sketch.parse(sketches.manifest.settings), sketches.manifest.version)
