"""The C library's structures and functions, as ctypes sees them. They mirror the headers field by field.

ctypes gives up the GIL during each call: while the library works, all other Python threads run.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_float, c_int, c_int32, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from serving.engine.native.kernels.build import KernelError, build
from serving.engine.saying import say


class Matrix(ctypes.Structure):
    """matrix.h"""

    _fields_ = (
        ("outputs", c_int32),
        ("inputs", c_int32),
        ("bits", c_int32),
        ("gated", c_int32),
        ("records", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    )


class Layer(ctypes.Structure):
    """model.h"""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("qkv", Matrix),
        ("out", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
    )


class Model(ctypes.Structure):
    """model.h"""

    _fields_ = (
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("vocabulary", c_int32),
        ("layers", c_int32),
        ("epsilon", c_float),
        ("attention_scaling", c_float),
        ("frequencies", c_void_p),
        ("final_norm", c_void_p),
        ("embedding", Matrix),
        ("head", Matrix),
        ("layer", POINTER(Layer)),
    )


class Choice(ctypes.Structure):
    """sampling.h"""

    _fields_ = (
        ("seed", c_uint64),
        ("position", c_int64),
        ("temperature", c_double),
        ("top_p", c_double),
        ("min_p", c_double),
        ("top_k", c_int32),
        ("adjusted", c_int32),
        ("ids", c_void_p),
        ("factors", c_void_p),
        ("offsets", c_void_p),
        ("allowed", c_void_p),
    )


class Report(ctypes.Structure):
    """logprobs.h"""

    _fields_ = (
        ("first", c_int32),
        ("count", c_int32),
        ("top", c_int32),
        ("next", c_int32),
        ("ids", c_void_p),
        ("logprobs", c_void_p),
    )


class Pooled(ctypes.Structure):
    """model.h"""

    _fields_ = (
        ("first", c_int32),
        ("count", c_int32),
        ("sum", c_void_p),
    )


class Slice(ctypes.Structure):
    """model.h"""

    _fields_ = (
        ("start", c_int32),
        ("length", c_int32),
        ("blocks", c_void_p),
        ("samples", c_int32),
        ("token", c_int32),
        ("choice", Choice),
        ("report", Report),
        ("pooled", Pooled),
    )


class Batch(ctypes.Structure):
    """model.h"""

    _fields_ = (
        ("slices", c_int32),
        ("rows", c_int32),
        ("slice", POINTER(Slice)),
        ("tokens", c_void_p),
        ("logits", c_void_p),
    )


_SIGNATURES = {
    "matrix_bytes": (c_int64, [c_int, c_int, c_int]),
    "pack_rows": (None, [POINTER(Matrix), c_void_p, c_int, c_int]),
    "runner_new": (c_void_p, [POINTER(Model), c_int]),
    "runner_set_cache": (None, [c_void_p, c_void_p, c_int, c_int]),
    "runner_run": (c_int, [c_void_p, POINTER(Batch)]),
    "runner_free": (None, [c_void_p]),
    "choose": (c_int32, [c_void_p, c_int, POINTER(Choice)]),
}


@cache
def load_library(cache_dir: Path, processor: str = "native", *flags: str) -> ctypes.CDLL:
    """The library, built if need be. Raises KernelError."""
    path = build(cache_dir, processor, *flags)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(
            say("%(file)s cannot be loaded: %(reason)s", file=path.name, reason=error)
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
