"""What a layer of the fast GPU runner is made of: a matrix with what stands around it. One row on a GPU goes
through one kernel, which does the rest while it reads the weights; anything else through torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from serving.engine.cuda.matrices import Matrix


def norm_linear(x: torch.Tensor, norm: torch.Tensor, epsilon: float, matrix: Matrix) -> torch.Tensor:
    """``matrix`` of the RMS-normed ``x``."""
    if runs_triton(x) and len(x) == 1:
        return _kernels().matvec(x, matrix, norm=norm, epsilon=epsilon)
    return _linear(functional.rms_norm(x, x.shape[-1:], norm, epsilon), matrix)


def gated(x: torch.Tensor, norm: torch.Tensor, epsilon: float, matrix: Matrix) -> torch.Tensor:
    """silu(gate) * up, where ``matrix`` of the RMS-normed ``x`` is gate, then up."""
    if runs_triton(x) and len(x) == 1:
        return _kernels().matvec(x, matrix, norm=norm, epsilon=epsilon, gated=True)
    gate, up = norm_linear(x, norm, epsilon, matrix).chunk(2, dim=-1)
    return functional.silu(gate) * up


def linear_add(x: torch.Tensor, matrix: Matrix, residual: torch.Tensor) -> torch.Tensor:
    """``residual`` plus ``matrix`` of ``x``."""
    if runs_triton(x) and len(x) == 1:
        return _kernels().matvec(x, matrix, residual=residual)
    return residual + _linear(x, matrix)


def _linear(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    if runs_triton(x) and matrix.bits != 16:
        return _kernels().matmul(x, matrix)
    return matrix(x)


def runs_triton(x: torch.Tensor) -> bool:
    return bool(x.is_cuda)


def _kernels() -> Any:
    """Triton comes with torch for CUDA, and only there."""
    from serving.engine.cuda import triton_matrices

    return triton_matrices
