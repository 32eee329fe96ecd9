# SPDX-License-Identifier: Apache-2.0
"""What helps to look at a training run."""
