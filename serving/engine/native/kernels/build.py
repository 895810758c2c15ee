"""Compile the C sources beside this file for the processor that runs them, once.

The compiler is clang as the ``ziglang`` wheel brings it, so that no compiler has to be installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from serving.engine.errors import EngineError
from serving.engine.saying import say

_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-shared", "-fPIC")
_COMPILE_SECONDS = 300


class KernelError(EngineError):
    """The C library cannot be built or loaded here. The general runner needs none of it."""


def build(cache_dir: Path, processor: str = "native", *flags: str) -> Path:
    """The compiled library for these sources, this processor and this compiler, from ``cache_dir`` if it
    is there. ``processor`` "baseline" uses no instruction that is special to this one. ``flags``: more for
    the compiler. Raises KernelError."""
    library = library_path(cache_dir, processor, *flags)
    if not library.exists():
        _compile([f"-mcpu={processor}", *_FLAGS, *flags], library)
    return library


def library_path(cache_dir: Path, processor: str = "native", *flags: str) -> Path:
    """Where ``build`` puts the library, or finds it. Raises KernelError when there is no compiler."""
    if importlib.util.find_spec("ziglang") is None:
        raise KernelError(say("The compiler is not installed: pip install ziglang."))
    return cache_dir / f"kernels-{_fingerprint(processor, *flags)}.so"


def _fingerprint(processor: str, *flags: str) -> str:
    digest = hashlib.sha256()
    for source in sorted(_SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + source.read_bytes())
    compiler = importlib.metadata.version("ziglang")
    for fact in (processor, *_FLAGS, *flags, compiler, platform.platform(), _this_processor()):
        digest.update(fact.encode() + b"\0")
    return digest.hexdigest()[:16]


def _this_processor() -> str:
    """What tells apart processors that need different code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _compile(flags: list[str], library: Path) -> None:
    sources = map(str, sorted(_SOURCES.glob("*.c")))
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            made = Path(scratch) / library.name
            _run_compiler([*flags, "-o", str(made), *sources, "-lm", "-lpthread"], scratch)
            made.replace(library)  # whole or not at all, also when two processes build at once
    except OSError as error:
        raise KernelError(
            say(
                "The kernels cannot be written to %(folder)s: %(reason)s.",
                folder=library.parent,
                reason=error.strerror,
            )
        ) from error


def _run_compiler(arguments: list[str], scratch: str) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", *arguments]
    environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": scratch, "ZIG_GLOBAL_CACHE_DIR": scratch}
    try:
        result = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(
            say("The compiler took more than %(seconds)s s.", seconds=_COMPILE_SECONDS)
        ) from error
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        raise KernelError(say("The compiler failed: %(reason)s", reason=reason))
