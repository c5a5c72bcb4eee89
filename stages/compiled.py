"""Functions compiled to machine code by numba, and kept on disk where a folder for that can be written.

No fast mathematics: a product and a sum are two roundings, as in the C++ that the results are compared with. Compiled
functions let go of the interpreter, so threads run them side by side. They import numba: only what works imports them.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call; later processes load it, unless neither this folder nor the user's can be written."""
    return _compile(function, forceinline=False)


def inlined(function: Function) -> Function:
    """Compile as a part of each compiled function that calls it: for what is called in an inner loop."""
    return _compile(function, forceinline=True)


def _compile(function: Function, *, forceinline: bool) -> Function:
    try:
        done = numba.njit(function, cache=True, nogil=True, forceinline=forceinline)
    except RuntimeError:  # numba finds no folder to keep it in: an image that is read-only, a user without a home
        done = numba.njit(function, nogil=True, forceinline=forceinline)
    return cast(Function, done)
