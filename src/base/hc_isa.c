// SPDX-License-Identifier: Apache-2.0
/* Decided once, by CPUID through the compiler's run time (which also asks the OS for the register state). */
#include "hc_isa.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_option.h"

static const char *const NAMES[] = {
#define X(name) #name,
    HC_FOR_ISAS(X)
#undef X
};

const char *hc_isa_name(int isa) { return isa >= 0 && isa < HC_ISA_COUNT ? NAMES[isa] : "?"; }

#if defined(__x86_64__)
/* Linux saves the tile registers only for a process that has asked for them; it refuses where a thread has an
 * alternate signal stack that is too small for them, and emulators do not know the call. */
static bool may_use_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

/* The bits asked for are those that cmake/isa.cmake compiles with: a CPU with AVX2 but without F16C (or
 * AVX-512 without VL) exists only under emulators, and is given the weaker set. */
static bool cpu_has(int isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    switch (isa) {
    case HC_ISA_ID_scalar: return true;
    case HC_ISA_ID_avx2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
    case HC_ISA_ID_avx512:
        return cpu_has(HC_ISA_ID_avx2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq");
    case HC_ISA_ID_avx512vnni: return cpu_has(HC_ISA_ID_avx512) && __builtin_cpu_supports("avx512vnni");
    case HC_ISA_ID_avx512bf16: return cpu_has(HC_ISA_ID_avx512vnni) && __builtin_cpu_supports("avx512bf16");
    case HC_ISA_ID_amx:
        return cpu_has(HC_ISA_ID_avx512bf16) && __builtin_cpu_supports("amx-tile") &&
               __builtin_cpu_supports("amx-bf16") && may_use_tiles();
    default: return false;
    }
#else
    return isa == 0;
#endif
}

/* Bits of the sets that this build has kernels for: all, but where cmake was given HC_ONLY. */
#ifndef HC_BUILT
#define HC_BUILT ~0u
#endif
bool hc_isa_available(int isa) { return (HC_BUILT >> isa & 1) != 0 && cpu_has(isa); }

/* Intel's cores begin a dot product of bfloat16 once in four cycles of theirs for a multiply-add (measured on
 * a Xeon of the fourth generation): half the multiply-adds of widened values, where AMD's have twice as many.
 * Tiles are another matter. By the maker and not by a measurement, so that all ranks of a job round alike. */
static bool is_worth_it(int isa) {
#if defined(__x86_64__)
    return isa != HC_ISA_ID_avx512bf16 || !__builtin_cpu_is("intel");
#else
    (void)isa;
    return true;
#endif
}

/* HC_FOR_ISAS lists the weakest first, so the last available one is the best. */
static int best_isa(void) {
    int best = 0;
    for (int i = 0; i < HC_ISA_COUNT; i++) {
        if (hc_isa_available(i) && is_worth_it(i)) best = i;
    }
    return best;
}

/* Index of the set of that name, -1 if this build has none. */
static int isa_named(const char *name) {
    for (int i = 0; i < HC_ISA_COUNT; i++) {
        if (strcmp(name, NAMES[i]) == 0) return i;
    }
    return -1;
}

/* At start-up, so that a wrong HC_ISA is an error with a message and not a crash at the first kernel. A name
 * that does not exist is refused with the other options. */
int hc_isa_validate(void) {
    enum { BAD_ISA = 100000 /* ACL_ERROR_INVALID_PARAM */ };
    const int isa = isa_named(hc_option_text(HC_OPT_ISA));
    HC_CHECK(hc_isa_available(best_isa()), BAD_ISA,
             "this build has kernels for part of the instruction sets (HC_ONLY), and none of those runs on "
             "this CPU");
    HC_CHECK(isa < 0 || hc_isa_available(isa), BAD_ISA, "HC_ISA=%s: this CPU does not have it (best: %s)",
             NAMES[isa], NAMES[best_isa()]);
    return 0;
}

/* A bad HC_ISA is reported by hc_isa_validate in aclInit, which every client passes first; here, where
 * nothing can be reported, the best set is used. Two threads that decide at once decide alike, so relaxed
 * order is enough. */
int hc_isa(void) {
    static atomic_int chosen = -1;
    int isa = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (HC_LIKELY(isa >= 0)) return isa;
    const int forced = isa_named(hc_option_text(HC_OPT_ISA));
    isa = forced >= 0 && hc_isa_available(forced) ? forced : best_isa();
    atomic_store_explicit(&chosen, isa, memory_order_relaxed);
    return isa;
}
