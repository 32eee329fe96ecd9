# SPDX-License-Identifier: Apache-2.0
"""Building blocks that features put in the place of CUDA-only packages. They call operators and do no arithmetic."""
