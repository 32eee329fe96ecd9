// SPDX-License-Identifier: Apache-2.0
/* Tasks of a process that planned with more memory than the host has (budget.c).
 *
 * Its allocations are no promise any more, so each task is asked what it is about to fill: pages of its
 * operands that do not exist yet. They are claimed while it runs, as other processes may be filling too. It
 * costs a look at the page tables for each operand, and only such a process pays it. */
#include "hc_admission.h"

#include <fcntl.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_memory.h"
#include "hc_option.h"

/* By a word of /proc/self/pagemap. Where private memory was only read there is the kernel's page of zeros,
 * which is present but nobody's alone. */
static bool has_page(uint64_t word, bool shared) {
    const uint64_t present = (uint64_t)1 << 63, exclusive = (uint64_t)1 << 56;
    return (word & present) != 0 && (shared || (word & exclusive) != 0);
}

/* Bytes of [begin, end) without a page. What cannot be read counts as missing. */
static size_t missing_pages(uintptr_t begin, uintptr_t end, bool shared) {
    uint64_t words[1024];
    size_t missing = 0;
    const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    const size_t last = hc_ceil_div(end, HC_PAGE);
    for (size_t page = begin / HC_PAGE; page < last;) {
        const size_t count = hc_min_size(HC_ARRAY_SIZE(words), last - page);
        const ssize_t got = pread(file, words, count * sizeof *words, (off_t)(page * sizeof *words));
        const size_t read = got > 0 ? (size_t)got / sizeof *words : 0;
        for (size_t i = 0; i < read; i++) missing += !has_page(words[i], shared);
        missing += count - read;
        page += count;
    }
    if (file >= 0) close(file);
    return missing * HC_PAGE;
}

/* Reading private memory that was never written shows the page of zeros, reading shared memory makes pages.
 */
static void add_missing(void *ctx, const void *address, size_t bytes, bool written) {
    struct hc_region r;
    size_t *sum = ctx;
    if (bytes == 0 || !hc_region_find(address, &r) || r.device == NULL) return;
    const bool shared = r.kind != HC_REGION_DEVICE || r.owner != NULL;
    if (written || shared) *sum += missing_pages((uintptr_t)address, (uintptr_t)address + bytes, shared);
}

aclError hc_admission_enter(int32_t device, const struct hc_task *task, size_t *claimed) {
    size_t bytes = 0;
    uint64_t left = 0;
    *claimed = 0;
    if (task->visit == NULL || !hc_is_planning()) return ACL_SUCCESS;
    task->visit(task->arg, add_missing, &bytes);
    if (bytes == 0) return ACL_SUCCESS;
    HC_CHECK(
        hc_budget_claim(bytes, &left), ACL_ERROR_RT_MEMORY_ALLOCATION,
        "%s: out of memory on device %d: it would fill %zu bytes for the first time, but the host can give "
        "%llu more to all devices of all processes (MINDSPEED_DEVICE_MEMORY=%s lets allocations exceed what "
        "the host has)",
        task->name, device, bytes, (unsigned long long)left, hc_option_text(HC_OPT_DEVICE_MEMORY));
    *claimed = bytes;
    return ACL_SUCCESS;
}

void hc_admission_leave(size_t claimed) {
    if (claimed > 0) hc_budget_unclaim(claimed);
}
