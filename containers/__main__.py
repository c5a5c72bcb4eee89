"""`python -m containers build STAGE | base FILE | lint | labels IMAGE`: see docs/containers.md."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from containers import image, root
from containers.context import FOLDER, base_of
from containers.definition import lint
from schemas.table import ContractError
from stages.base import SettingsError, Stage
from workflows.base import nearest
from workflows.commands import all_stages
from workflows.launch import StageFailed

EXIT_FAILED, EXIT_SETTINGS = 1, 2
MEGABYTE = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; 1 for a definition with faults or a command that failed, 2 for what cannot be asked."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_SETTINGS
    except (ContractError, StageFailed) as error:
        print(f"containers: {error}", file=sys.stderr)
        return EXIT_FAILED
    except subprocess.CalledProcessError as error:
        print(f"containers: {error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        return EXIT_FAILED


def build(options: argparse.Namespace) -> int:
    """Build and test the images of some stages."""
    kind = base_of(options.kind)
    for stage in stages(options.stage):
        done = image.build(stage, kind, options.base, options.images, options.system)
        print(f"{done.image}  {done.size_bytes / MEGABYTE:.0f} MB  {done.seconds:.0f} s", flush=True)
    return 0


def base(options: argparse.Namespace) -> int:
    """Make a base image without a hub."""
    root.make(options.file, options.suite, tuple(options.include))
    print(f"{options.file}  {options.file.stat().st_size / MEGABYTE:.0f} MB")
    return 0


def lint_all(_options: argparse.Namespace) -> int:
    """Say what is wrong with the definitions."""
    found = [problem for file in sorted(FOLDER.glob("*.def")) for problem in lint(file)]
    print("\n".join(found) or "no faults in any definition")
    return EXIT_FAILED if found else 0


def labels(options: argparse.Namespace) -> int:
    """Print an image's labels."""
    image.require()
    print(json.dumps(image.labels(options.image), indent=1))
    return 0


def stages(names: Sequence[str]) -> list[type[Stage]]:
    """The stages of these names; `SettingsError` for one that there is not."""
    known = {s.name: s for s in all_stages()}
    wrong = [f"containers: no stage {n!r}; {nearest(n, list(known), 'stages')}" for n in names if n not in known]
    if wrong:
        raise SettingsError("\n".join(wrong))
    return [known[n] for n in names]


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m containers", description="Images of the stages.")
    verbs = top.add_subparsers(required=True, metavar="COMMAND")
    verb = verbs.add_parser("build", help="build and test the images of stages")
    verb.add_argument("stage", nargs="+", help="names, as `parsl stages` lists them")
    verb.add_argument("--kind", default="cpu", help="definition: cpu, cuda, xpu (default: cpu)")
    verb.add_argument("--base", default="", help="base image: a name, a docker-archive or a folder with a root")
    verb.add_argument("--images", type=Path, default=FOLDER / "images", help="where images go")
    verb.add_argument("--system", action="append", default=[], metavar="PACKAGE", help="a package of the base's system")
    verb.set_defaults(do=build)
    verb = verbs.add_parser("base", help="make a Debian base where no hub can be reached")
    verb.add_argument("file", type=Path, help="where it goes, build/base.tar for one")
    verb.add_argument("--suite", default="bookworm", help="Debian's name for a release (default: bookworm)")
    verb.add_argument("--include", action="append", default=[], metavar="PACKAGE", help="a further package")
    verb.set_defaults(do=base)
    verbs.add_parser("lint", help="check the definitions").set_defaults(do=lint_all)
    verb = verbs.add_parser("labels", help="what an image says of itself")
    verb.add_argument("image", type=Path, help="a .sif file")
    verb.set_defaults(do=labels)
    return top


if __name__ == "__main__":
    sys.exit(main())
