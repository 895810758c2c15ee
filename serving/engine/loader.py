"""From a line in models.toml to a model that can run: fetch, choose a runner, size the cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from serving.engine.core import EngineConfig, ModelRunner, Pooling
from serving.engine.cuda.runner import CudaRunner
from serving.engine.errors import EngineError, ModelLoadError
from serving.engine.model_store import prepare
from serving.engine.models_file import ModelSpec
from serving.engine.native.kernels.build import KernelError, build, library_path
from serving.engine.native.runner import NativeRunner
from serving.engine.pooling import pooling_of
from serving.engine.progress import Progress, Report
from serving.engine.quiet import silence_libraries
from serving.engine.sampling.structured import GrammarCompiler
from serving.engine.saying import say
from serving.engine.tokenizer import Tokenizer
from serving.engine.transformers_runner import load_transformers_runner

log = logging.getLogger(__name__)

BLOCK_SIZE = 16
# Preparing the files is the longer part when there is anything to prepare; compiling comes next.
_FILES_SHARE, _KERNELS_SHARE = 0.7, 0.9
_USUAL_COMPILE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready for an ``Engine``. ``pooling`` is how it embeds, ``hidden_size`` how many numbers
    that makes; ``architecture`` and ``runner_reason`` are for people."""

    spec: ModelSpec
    tokenizer: Tokenizer
    runner: ModelRunner
    config: EngineConfig
    grammars: GrammarCompiler
    hidden_size: int
    pooling: Pooling
    architecture: str
    runner_reason: str


def load(spec: ModelSpec, models_dir: Path, report: Report) -> LoadedModel:
    """Make ``spec`` ready to run. ``report`` gets what is being done and the fraction done.

    Raises ModelLoadError in one line that says what to do.
    """
    silence_libraries()
    _check_device(spec)
    folder = prepare(spec, models_dir, lambda label, done: report(label, done * _FILES_SHARE))
    try:
        loaded = _load_folder(spec, folder, models_dir.parent / "kernels", report)
    except (EngineError, MemoryError):
        raise
    except Exception as error:  # torch, transformers, accelerate and bitsandbytes have no common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(
            say(
                "%(model)s cannot be loaded from %(folder)s: %(reason)s",
                model=spec.name,
                folder=folder,
                reason=reason,
            )
        ) from error
    report(say("%(model)s is loaded", model=spec.name), 1.0)
    return loaded


def _check_device(spec: ModelSpec) -> None:
    if not spec.device_map.startswith("cuda") or torch.cuda.is_available():
        return
    raise ModelLoadError(
        say(
            '%(model)s: device_map = "%(device)s" needs an NVIDIA GPU, and torch sees none here.'
            ' Supported here: "cpu" or "auto", with any dtype and quantization "none", "int8" or "int4".',
            model=spec.name,
            device=spec.device_map,
        )
    )


def _load_folder(spec: ModelSpec, folder: Path, kernels_dir: Path, report: Report) -> LoadedModel:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    runner, reason = _load_runner(spec, folder, kernels_dir, config, report)
    engine = engine_config(spec, config, runner.kv_bytes_per_token())
    log.info(
        "%s: %s, because %s; %d MiB of weights, at most %d MiB of cache",
        spec.name,
        type(runner).__name__,
        reason,
        runner.weight_bytes() // 2**20,
        engine.kv_blocks * engine.block_size * runner.kv_bytes_per_token() // 2**20,
    )
    return LoadedModel(
        spec=spec,
        tokenizer=Tokenizer(tokenizer),
        runner=runner,
        config=engine,
        grammars=GrammarCompiler(tokenizer, runner.vocab_size, runner.eos_token_ids),
        hidden_size=config.get_text_config().hidden_size,
        pooling=pooling_of(folder),
        architecture=(config.architectures or [config.model_type])[0],
        runner_reason=reason,
    )


def _load_runner(
    spec: ModelSpec, folder: Path, kernels_dir: Path, config: Any, report: Report
) -> tuple[ModelRunner, str]:
    """The fast runner of the device where it can run ``spec``, else the general one; and why."""
    if (gpu := _gpu(spec)) is not None:
        return _load_gpu_runner(spec, folder, gpu, config, report)
    supported, reason = NativeRunner.supports(config, spec)
    if supported:
        try:
            _prepare_kernels(kernels_dir, report)
            report(say("Loading %(model)s", model=spec.name), _KERNELS_SHARE)
            fast = NativeRunner.from_pretrained(
                folder, spec.quantization, name=spec.name, kernels_dir=kernels_dir
            )
            return fast, reason
        except KernelError as error:
            reason = error.args[0]
    report(say("Loading %(model)s", model=spec.name), _KERNELS_SHARE)
    return load_transformers_runner(folder, spec), say("the native runner cannot: %(reason)s", reason=reason)


def _gpu(spec: ModelSpec) -> torch.device | None:
    """The first GPU that ``spec`` goes to, or None for the CPU."""
    if spec.device_map == "cpu" or not torch.cuda.is_available():
        return None
    return torch.device("cuda:0" if spec.device_map in ("auto", "cuda") else spec.device_map)


def _load_gpu_runner(
    spec: ModelSpec, folder: Path, gpu: torch.device, config: Any, report: Report
) -> tuple[ModelRunner, str]:
    report(say("Loading %(model)s", model=spec.name), _KERNELS_SHARE)
    if reason := CudaRunner.supports(config, spec, gpu):
        return load_transformers_runner(folder, spec), say("the GPU runner cannot: %(reason)s", reason=reason)
    weights = spec.dtype if spec.quantization == "none" else spec.quantization
    runner = CudaRunner.from_pretrained(folder, spec, gpu)
    return runner, say(
        "%(family)s with %(weights)s weights on %(device)s",
        family=config.model_type,
        weights=weights,
        device=gpu,
    )


def _prepare_kernels(kernels_dir: Path, report: Report) -> None:
    """Raises KernelError."""
    if library_path(kernels_dir).exists():
        return
    with Progress(report, _FILES_SHARE).stage(
        say("Compiling the CPU kernels"), _KERNELS_SHARE, _USUAL_COMPILE_SECONDS
    ):
        build(kernels_dir)


def engine_config(spec: ModelSpec, config: Any, kv_bytes_per_token: int) -> EngineConfig:
    """Bounds for ``spec`` on a model with transformers config ``config``. Raises ModelLoadError when
    ``max_model_len`` is more than the model or the cache can hold."""
    text_config = config.get_text_config()
    own_limit = getattr(text_config, "max_position_embeddings", None)
    blocks = spec.kv_cache_mib * 2**20 // (kv_bytes_per_token * BLOCK_SIZE)
    cache_limit = blocks * BLOCK_SIZE
    wanted = spec.max_model_len
    if wanted is None:
        wanted = min(own_limit or cache_limit, cache_limit)
    if own_limit is not None and wanted > own_limit:
        raise ModelLoadError(
            say(
                "%(model)s reads at most %(limit)s tokens: lower max_model_len.",
                model=spec.name,
                limit=own_limit,
            )
        )
    if wanted > cache_limit or wanted < 1:
        mib = -(-max(wanted, BLOCK_SIZE) * kv_bytes_per_token // 2**20) + 1
        raise ModelLoadError(
            say(
                "%(model)s: kv_cache_mib = %(set)s holds %(limit)s tokens only."
                " Set it to at least %(needed)s, or lower max_model_len.",
                model=spec.name,
                set=spec.kv_cache_mib,
                limit=cache_limit,
                needed=mib,
            )
        )
    return EngineConfig(wanted, blocks, BLOCK_SIZE, max_batch_size=spec.max_batch_size)
