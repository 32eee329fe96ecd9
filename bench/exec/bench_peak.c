// SPDX-License-Identifier: Apache-2.0
/* The most multiply-adds a second that the cores can do, in GFLOP/s, from registers alone: what a matrix
 * product or attention cannot exceed. One line each for float32 and, where the CPU has dot products of
 * bfloat16, for those, with all threads at once. Usage: bench_peak [threads] [seconds]. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hc_clock.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { ROUNDS = 100000, SUMS = 12 }; /* as many sums as hide the latency of an addition, on two units */

/* SUMS chains of OPERATION, kept in registers; `flops` of one operation. Returns those done in a call. */
#define CHAINS(NAME, TARGET, VECTOR, SET, OPERATION, FLOPS)                                                  \
    __attribute__((target(TARGET))) static double NAME(volatile float *sink) {                               \
        VECTOR sum[SUMS];                                                                                    \
        for (int i = 0; i < SUMS; i++) sum[i] = SET((float)i);                                               \
        const VECTOR x = SET(0.999f), y = SET(1e-3f);                                                        \
        for (int round = 0; round < ROUNDS; round++) {                                                       \
            _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++) sum[i] = OPERATION;                      \
            __asm__ volatile("" ::"r"(round));                                                               \
        }                                                                                                    \
        for (int i = 1; i < SUMS; i++) sum[0] += sum[i];                                                     \
        *sink = sum[0][0];                                                                                   \
        return (double)ROUNDS * SUMS * (FLOPS);                                                              \
    }
CHAINS(float_512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps(sum[i], x, y), 32)
CHAINS(float_256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps(sum[i], x, y), 16)
CHAINS(pairs_512, "avx512f,avx512bf16", __m512, _mm512_set1_ps,
       _mm512_dpbf16_ps(sum[i], (__m512bh)x, (__m512bh)y), 64)

typedef double chains_fn(volatile float *sink);

static chains_fn *float_chains(void) {
    if (__builtin_cpu_supports("avx512f")) return float_512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? float_256 : NULL;
}

struct work {
    chains_fn *run;
    uint64_t end; /* of the time, in nanoseconds */
    double flops;
};

static void *repeat(void *ctx) {
    struct work *w = ctx;
    volatile float sink = 0;
    while (hc_now_ns() < w->end) w->flops += w->run(&sink);
    return NULL;
}

static void measure(const char *name, chains_fn *run, int threads, double seconds) {
    pthread_t ids[256];
    struct work work[256] = {{0}};
    const uint64_t begin = hc_now_ns();
    for (int i = 0; i < threads; i++) {
        work[i] = (struct work){run, begin + (uint64_t)(seconds * 1e9), 0};
        if (pthread_create(&ids[i], NULL, repeat, &work[i])) exit(1);
    }
    double flops = 0;
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL), flops += work[i].flops;
    printf("%s %.1f\n", name, flops / (double)(hc_now_ns() - begin));
}

int main(int argc, char **argv) {
    const int threads = argc > 1 ? atoi(argv[1]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const double seconds = argc > 2 ? atof(argv[2]) : 1;
    if (threads < 1 || threads > 256 || seconds <= 0) {
        fprintf(stderr, "usage: bench_peak [threads, 1 to 256] [seconds]\n");
        return 2;
    }
    __builtin_cpu_init();
    if (float_chains() == NULL) {
        fprintf(stderr, "bench_peak: this CPU has neither AVX2 with FMA nor AVX-512\n");
        return 1;
    }
    measure("float32", float_chains(), threads, seconds);
    if (__builtin_cpu_supports("avx512bf16")) measure("bfloat16", pairs_512, threads, seconds);
    return 0;
}
#else
int main(void) {
    fprintf(stderr, "bench_peak: only for x86-64\n");
    return 1;
}
#endif
