# SPDX-License-Identifier: Apache-2.0
"""The scan of Mamba 2 against the recurrence it stands for, step by step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

B, L, H, P, G, N = 2, 11, 4, 3, 2, 5


def recurrence(x, dt, A, Bm, C, D, state=None):
    Bm, C = (t.repeat_interleave(H // G, 2) for t in (Bm, C))
    state = torch.zeros(B, H, P, N) if state is None else state
    outs = []
    for t in range(L):
        decay = (dt[:, t] * A).exp()[..., None, None]
        state = state * decay + (dt[:, t, :, None] * x[:, t])[..., None] * Bm[:, t, :, None, :]
        outs.append((state * C[:, t, :, None, :]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(outs, 1), state


def tensors():
    torch.manual_seed(12)
    return (
        torch.randn(B, L, H, P), torch.rand(B, L, H), -torch.rand(H) - 0.2, torch.randn(B, L, G, N),
        torch.randn(B, L, G, N), torch.randn(H),
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [4, 11, 16])
def test_scan(standins, chunk):
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    x, dt, A, Bm, C, D = tensors()
    before = torch.randn(B, H, P, N)
    want, state = recurrence(x, dt, A, Bm, C, D, before)
    got, last = mamba_chunk_scan_combined(
        *(t.to("npu") for t in (x, dt, A, Bm, C)), chunk, D=D.to("npu"), initial_states=before.to("npu"),
        return_final_states=True,
    )  # fmt: skip
    torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last.cpu(), state, rtol=1e-4, atol=1e-4)


def test_heads_come_in_groups(standins):
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    x, dt, A, Bm, C, _ = tensors()
    with pytest.raises(ValueError, match="3 heads are not a multiple of 2 groups"):
        mamba_chunk_scan_combined(x[:, :, :3], dt[..., :3], A[:3], Bm, C, 4)


def test_scan_with_convolution_gate_norm_and_projection(standins):
    from mamba_ssm.ops.triton.ssd_combined import mamba_split_conv1d_scan_combined

    _, _, A, _, _, D = tensors()
    inner, channels = H * P, H * P + 2 * G * N
    zxbcdt = torch.randn(B, L, inner + channels + H)
    conv, conv_bias, dt_bias = torch.randn(channels, 4), torch.randn(channels), torch.randn(H)
    norm, project = torch.rand(inner), torch.randn(7, inner)
    z, xBC, dt = zxbcdt.split([inner, channels, H], -1)
    padded = F.pad(xBC.transpose(1, 2), (3, 0))
    xBC = F.silu(F.conv1d(padded, conv.unsqueeze(1), conv_bias, groups=channels)).transpose(1, 2)
    x, Bm, C = xBC.split([inner, G * N, G * N], -1)
    y, _ = recurrence(
        x.view(B, L, H, P), F.softplus(dt + dt_bias), A, Bm.view(B, L, G, N), C.view(B, L, G, N), D
    )
    gated = (y.flatten(2) * F.silu(z)).view(B, L, G, inner // G)
    normal = F.rms_norm(gated, (inner // G,), eps=1e-5).flatten(2) * norm
    got = mamba_split_conv1d_scan_combined(
        *(t.to("npu") for t in (zxbcdt, conv, conv_bias, dt_bias, A, D)), 4, rmsnorm_weight=norm.to("npu"),
        rmsnorm_eps=1e-5, outproj_weight=project.to("npu"), headdim=P, ngroups=G, norm_before_gate=False,
    )  # fmt: skip
    torch.testing.assert_close(got.cpu(), normal @ project.t(), rtol=1e-4, atol=1e-4)
