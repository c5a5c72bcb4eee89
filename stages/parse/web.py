"""One question to a service over HTTP, asked again where the service is busy or away for a moment.

Nothing of a request is ever part of an error's words: it holds a page, and its headers may hold a key.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # worth asking again
WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)
MAX_REPLY_BYTES = 64 << 20
MAX_SHOWN = 200  # characters of a refusal


class ServiceError(Exception):
    """A service gave no answer to use; `reason` is one of a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def post(
    url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float, waits: Sequence[float] = WAITS_SECONDS
) -> bytes:
    """The answer's bytes; `waits` are the seconds between attempts. `ServiceError` where there is none."""
    request = urllib.request.Request(url, data=body, headers=dict(headers))  # noqa: S310 - http or https, checked by the settings
    for wait in (*waits, None):
        try:
            return _once(request, timeout_seconds)
        except urllib.error.HTTPError as error:
            if wait is None or error.code not in BUSY:
                shown = error.read(MAX_SHOWN).decode(errors="replace").strip()
                raise ServiceError(f"HTTP {error.code}", shown) from None
        except TimeoutError:
            if wait is None:
                raise ServiceError("no answer", f"none in {timeout_seconds:g} seconds") from None
        except OSError as error:
            if wait is None:
                raise ServiceError("no answer", str(error)) from None
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _once(request: urllib.request.Request, timeout_seconds: float) -> bytes:
    with urllib.request.urlopen(request, timeout=timeout_seconds) as reply:  # noqa: S310 - see above
        answer: bytes = reply.read(MAX_REPLY_BYTES + 1)
    if len(answer) > MAX_REPLY_BYTES:
        raise ServiceError("answer too long", f"more than {MAX_REPLY_BYTES} bytes")
    return answer
