// SPDX-License-Identifier: Apache-2.0
/* The CANN version that this implementation presents: the one place. CMake reads it for the version files. */
#pragma once

#define HC_CANN_VERSION "8.5.0"
