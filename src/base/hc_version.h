// SPDX-License-Identifier: Apache-2.0
/* The CANN version that this implementation presents: the one place. CMake reads it for the version files. */
#pragma once

#define HC_CANN_VERSION "9.1.0"
/* The first driver whose IPC events and pinned memory with attributes torch_npu uses. */
#define HC_DRIVER_VERSION "26.0.0"
