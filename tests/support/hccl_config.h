// SPDX-License-Identifier: Apache-2.0
/* HcclCommConfig as callers fill it: its size and a magic number in front, options that are not set. */
#pragma once
#include <string.h>

#include "hccl/hccl.h"

static inline void init_config(HcclCommConfig *config, size_t filled) {
    const uint32_t magic = HCCL_COMM_CONFIG_MAGIC_WORD;
    memset(config, 0, sizeof *config);
    memcpy(config->reserved, &filled, sizeof filled);
    memcpy(config->reserved + sizeof filled, &magic, sizeof magic);
    config->hcclBufferSize = config->hcclDeterministic = HCCL_COMM_CONFIG_NOT_SET;
}
