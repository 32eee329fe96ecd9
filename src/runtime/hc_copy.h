// SPDX-License-Identifier: Apache-2.0
/* Copies as their entry points share them: checked first (memcpy.c), then run at once or queued. */
#pragma once
#include "acl/acl.h"

/* 107000 with both numbers when a copy does not fit, or memory is not what `kind` says. */
aclError hc_copy_check(const char *function, const void *dst, size_t destMax, const void *src, size_t count,
                       aclrtMemcpyKind kind);
/* Both take a checked copy. */
aclError hc_copy_now(void *dst, const void *src, size_t count, aclrtMemcpyKind kind);
aclError hc_copy_enqueue(void *dst, const void *src, size_t count, aclrtMemcpyKind kind, aclrtStream stream);
