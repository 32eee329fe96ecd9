# SPDX-License-Identifier: Apache-2.0
"""In which numbers products are computed."""
