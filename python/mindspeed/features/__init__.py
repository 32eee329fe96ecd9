# SPDX-License-Identifier: Apache-2.0
"""One file per feature; each defines FEATURE. A name with a leading underscore is a helper, not a feature."""
