# SPDX-License-Identifier: Apache-2.0
"""One file per feature, in one folder per area; each defines FEATURE. A name with a leading underscore is a helper."""
