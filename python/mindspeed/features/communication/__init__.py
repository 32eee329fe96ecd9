# SPDX-License-Identifier: Apache-2.0
"""Level 2: what layers a stage of the pipeline has."""
