"""Python loads this by itself where the folder is on its path: the toy stages are then stages like the others."""

from pathlib import Path

import stages

stages.__path__.append(str(Path(__file__).parent / "toys"))
