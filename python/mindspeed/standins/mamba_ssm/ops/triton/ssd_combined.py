# SPDX-License-Identifier: Apache-2.0
"""The scan of Mamba 2, chunk by chunk.

h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,  y_t = C_t h_t + D x_t. Inside a chunk all steps are one product with the matrix of
decays between them; from chunk to chunk only the state is carried.
"""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import RefusedError, missing_attribute

from .layernorm_gated import gated_rms_norm

__getattr__ = missing_attribute(__name__)

Limits = tuple[float, float]
NO_LIMITS = (0.0, float("inf"))


def _step_sizes(
    dt: torch.Tensor, dt_bias: torch.Tensor | None, dt_softplus: bool, dt_limit: Limits
) -> torch.Tensor:
    dt = dt.float() if dt_bias is None else dt.float() + dt_bias.float()
    if dt_softplus:
        dt = torch.nn.functional.softplus(dt)
    return dt if dt_limit == NO_LIMITS else dt.clamp(*dt_limit)


def _chunks(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """[b,l,h,...] -> [b,h,c,size,...], filled up with zeros"""
    rest = -tensor.shape[1] % size
    if rest:
        tensor = torch.cat((tensor, tensor.new_zeros((tensor.shape[0], rest, *tensor.shape[2:]))), 1)
    return tensor.unflatten(1, (-1, size)).movedim(3, 1)


def _carry(
    states: torch.Tensor, decay: torch.Tensor, before: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each chunk [b,h,c,p,n] begins with, and what the last one leaves."""
    state = torch.zeros_like(states[:, :, 0]) if before is None else before.float()
    begins = []
    for chunk in range(states.shape[2]):
        begins.append(state)
        state = state * decay[:, :, chunk, None, None] + states[:, :, chunk]
    return torch.stack(begins, 2), state


def _scan(
    x: torch.Tensor,
    log_decay: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    chunk_size: int,
    before: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [b,l,h,p] times its step, B and C [b,l,h,n] -> (y [b,l,h,p], last state [b,h,p,n])"""
    length = x.shape[1]
    x, B, C, log_decay = (_chunks(t, chunk_size) for t in (x, B, C, log_decay))
    total = log_decay.cumsum(-1)
    between = (total.unsqueeze(-1) - total.unsqueeze(-2)).tril()
    weights = torch.matmul(C, B.transpose(-1, -2)) * between.exp().tril()
    last = total[..., -1:]
    states = torch.matmul((x * (last - total).exp().unsqueeze(-1)).transpose(-1, -2), B)
    begins, state = _carry(states, last.squeeze(-1).exp(), before)
    carried = torch.matmul(C * total.exp().unsqueeze(-1), begins.transpose(-1, -2))
    y = (torch.matmul(weights, x) + carried).movedim(1, 3).flatten(1, 2)
    return y[:, :length], state


def mamba_chunk_scan_combined(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    chunk_size: int,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    initial_states: torch.Tensor | None = None,
    seq_idx: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: Limits = NO_LIMITS,
    return_final_states: bool = False,
    return_varlen_states: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """x [b,l,h,p], dt [b,l,h], A [h], B and C [b,l,g,n] -> y [b,l,h,p], with return_final_states also [b,h,p,n]"""
    if seq_idx is not None or cu_seqlens is not None or return_varlen_states:
        raise RefusedError(
            "mamba_chunk_scan_combined over packed sequences", "Pass one sequence for each batch entry"
        )
    heads = x.shape[2]
    if heads % B.shape[2]:
        raise ValueError(
            f"mamba_chunk_scan_combined: {heads} heads are not a multiple of {B.shape[2]} groups"
        )
    step = _step_sizes(dt, dt_bias, dt_softplus, dt_limit)
    B, C = (t.float().repeat_interleave(heads // t.shape[2], 2) for t in (B, C))
    y, state = _scan(x.float() * step.unsqueeze(-1), step * A.float(), B, C, chunk_size, initial_states)
    if D is not None:
        y = y + x.float() * (D if D.dim() == 2 else D.unsqueeze(-1))
    if z is not None:
        y = y * torch.nn.functional.silu(z.float())
    y = y.to(x.dtype)
    return (y, state) if return_final_states else y


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x [b,l,d] with weight [d,w]: each channel alone, seeing itself and the w - 1 steps before; w is small."""
    length, width = x.shape[1], weight.shape[1]
    padded = torch.cat((x.new_zeros((x.shape[0], width - 1, x.shape[2])), x), 1)
    y = torch.zeros_like(x) if bias is None else bias.to(x.dtype).expand_as(x)
    for tap in range(width):
        y = torch.addcmul(y, padded[:, tap : tap + length], weight[:, tap].to(x.dtype))
    return y


def mamba_split_conv1d_scan_combined(
    zxbcdt: torch.Tensor,
    conv1d_weight: torch.Tensor,
    conv1d_bias: torch.Tensor | None,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    chunk_size: int,
    initial_states: torch.Tensor | None = None,
    seq_idx: torch.Tensor | None = None,
    dt_limit: Limits = NO_LIMITS,
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_weight: torch.Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: torch.Tensor | None = None,
    outproj_bias: torch.Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """[b,l,z x B C dt] -> convolution, scan, gate, norm and projection."""
    if activation not in ("silu", "swish"):
        raise ValueError(f"activation={activation!r}: wanted silu")
    heads = dt_bias.shape[0]
    if D.dim() == 1 and headdim is None:
        raise ValueError("mamba_split_conv1d_scan_combined: headdim is needed with a D of one dimension")
    inner = heads * (headdim if D.dim() == 1 else D.shape[1])
    states = (zxbcdt.shape[-1] - 2 * inner - heads) // (2 * ngroups)
    z, xBC, dt = zxbcdt.split([inner, inner + 2 * ngroups * states, heads], -1)
    xBC = torch.nn.functional.silu(_convolve(xBC, conv1d_weight, conv1d_bias))
    x, B, C = xBC.split([inner, ngroups * states, ngroups * states], -1)
    norms = rmsnorm_weight is not None
    result = mamba_chunk_scan_combined(
        x.unflatten(-1, (heads, -1)), dt, A, B.unflatten(-1, (ngroups, -1)), C.unflatten(-1, (ngroups, -1)),
        chunk_size, D=D, z=None if norms else z.unflatten(-1, (heads, -1)), dt_bias=dt_bias,
        initial_states=initial_states, seq_idx=seq_idx, dt_softplus=True, dt_limit=dt_limit, return_final_states=True,
    )  # fmt: skip
    y, state = result[0].flatten(2), result[1]
    if rmsnorm_weight is not None:
        group = inner // ngroups if ngroups > 1 else None
        y = gated_rms_norm(y, rmsnorm_weight, z, rmsnorm_eps, group, norm_before_gate)
    if outproj_weight is not None:
        y = torch.nn.functional.linear(y, outproj_weight, outproj_bias)
    return (y, state) if return_final_states else y
