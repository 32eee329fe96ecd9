# SPDX-License-Identifier: Apache-2.0
"""Names that other projects import, in the places where they expect them."""
