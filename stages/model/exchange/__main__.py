"""`python -m stages.model.exchange FROM TO --to LAYOUT`: convert a model's weights; see docs/exchange.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.table import ContractError
from stages.base import SettingsError
from stages.model.exchange.convert import Conversion, convert

EXIT_SETTINGS, EXIT_CONTRACT = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; 2 for what cannot be asked, 3 where the source or the gate refuses."""
    options = _parser().parse_args(arguments)
    names = ("to", "ranks", "rope", "config", "probe", "tokenizer", "unverified")
    try:
        done = convert(options.source, options.target, Conversion(**{name: getattr(options, name) for name in names}))
    except (SettingsError, ContractError) as error:
        print(error, file=sys.stderr)
        return EXIT_SETTINGS if isinstance(error, SettingsError) else EXIT_CONTRACT
    print(f"{done.source} -> {options.to}: {done.sizes.describe()}")
    if done.difference is None:
        print("unverified: no logits of the source were at hand, so no convention was checked")
    else:
        print(
            f"logits on the probe tokens differ by at most {done.difference:.1e} of the largest; weights are bitwise the same"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    words = (
        "Convert weights between a Hugging Face folder and Megatron-DeepSpeed's layout, or from a universal checkpoint."
    )
    parser = argparse.ArgumentParser(prog="python -m stages.model.exchange", description=words)
    parser.add_argument("source", type=Path, metavar="FROM", help="a folder; its layout is found out")
    parser.add_argument("target", type=Path, metavar="TO", help="a folder that does not exist yet")
    parser.add_argument(
        "--to", choices=("hugging-face", "megatron-deepspeed"), default="hugging-face", help="layout of TO"
    )
    parser.add_argument(
        "--ranks", type=int, default=1, metavar="N", help="tensor-parallel ranks of a Megatron-DeepSpeed TO"
    )
    rope = "rotary convention of FROM, where its conventions.json does not say (default: rotate-half)"
    parser.add_argument("--rope", choices=("rotate-half", "interleaved"), help=rope)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a config.json with the sizes, where FROM has none")
    probe = "tokens and the source's logits for them (default: FROM/probe.safetensors)"
    parser.add_argument("--probe", type=Path, metavar="FILE", help=probe)
    parser.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="tokenizer.json, or a folder with it (default: FROM's)"
    )
    parser.add_argument(
        "--unverified", action="store_true", help="convert without the source's logits, and write that down"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
