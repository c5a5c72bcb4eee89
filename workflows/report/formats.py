"""Numbers, sizes, times and commands as a reader wants them."""

import json
import math
import shlex
from datetime import UTC, datetime
from typing import Any

NONE = "–"
ONE_DECIMAL_BELOW = 10


def number(value: float | None) -> str:
    """An integer with thousands separators; other numbers with four significant digits."""
    if value is None or not math.isfinite(value):
        return NONE if value is None else str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def signed(value: float) -> str:
    """A change with its sign, four decimals."""
    return f"{value:+.4f}".replace("-", "−")


def compact(value: float) -> str:
    """A count in at most five characters: 9,999, 12.3k, 4.5M."""
    if value < 10_000:
        return f"{value:,}"
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value / size < 999.5 else f"{value / size:.0f}{unit}"
    raise AssertionError(value)


def size(num_bytes: float | None) -> str:
    """Bytes in binary units."""
    if num_bytes is None:
        return NONE
    for factor, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if num_bytes >= factor:
            value = num_bytes / factor
            return f"{value:.1f} {unit}" if value < ONE_DECIMAL_BELOW else f"{value:.0f} {unit}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds as `0.42 s`, `12 s`, `3 min 05 s` or `2 h 04 min`."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < ONE_DECIMAL_BELOW:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(iso: str | None) -> str:
    """An ISO time as `2026-11-25 14:03 UTC`; as it is where it is none."""
    try:
        return f"{datetime.fromisoformat(iso or '').astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return iso or NONE


def share(part: float, whole: float) -> str:
    """A percentage with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else NONE


def plus_minus(value: float, standard_error: float | None) -> str:
    """`0.412 ± 0.023`: the error to two significant digits, the value to as many decimals."""
    if standard_error is None or not math.isfinite(standard_error) or standard_error <= 0:
        return number(value)
    decimals = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{value:,.{decimals}f} ± {standard_error:,.{decimals}f}"


def shorten(text: str, max_chars: int) -> str:
    """Text cut to `max_chars`, with an ellipsis where something is gone."""
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def as_json(value: Any) -> str:
    """A setting's value on one line."""
    return json.dumps(value, ensure_ascii=False)


def curl_line(url: str, model: str, prompt: str) -> str:
    """A shell line that asks an OpenAI-compatible server; every part is quoted for the shell."""
    base = url.rstrip("/")
    if not base.endswith("/chat/completions"):
        base += "/chat/completions" if base.endswith("/v1") else "/v1/chat/completions"
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False)
    return shlex.join(["curl", base, "-H", "Content-Type: application/json", "-d", body])
