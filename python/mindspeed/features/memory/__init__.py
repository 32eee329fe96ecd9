# SPDX-License-Identifier: Apache-2.0
"""Level 2: what makes a model fit that else does not."""
