// SPDX-License-Identifier: Apache-2.0
/* Runs of elements moved by size, whatever they mean: strided copies, fills and small transposes.
 *
 * A transpose works on squares of 16-byte vectors: log2(N) rounds that interleave vector i with vector i +
 * N/2 exchange rows and columns of an N x N square, N elements to a vector. */
#include <string.h>

#include "strided.h"

#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t) X(16, struct wide)
#define DECLARE(size, type)                                                                                  \
    HC_KERNEL(hc_move_##size,                                                                                \
              (size_t n, void *dst, int64_t dst_stride, const void *src, int64_t src_stride))                \
    HC_KERNEL(hc_transpose_##size, (size_t rows, size_t cols, void *dst, int64_t dst_stride,                 \
                                    const void *src, int64_t src_stride))
FOR_SIZES(DECLARE)

#ifdef HC_ISA
#include "simd.h"

struct wide {
    uint64_t low, high;
};

/* memcpy for rows: from 2 KiB on the library's uses string instructions, whose start costs as much as such a
 * row. */
enum { ROW_BYTES = 16 * 1024 };
/* Rows of a few vectors, without the call and the tests of memcpy, which cost as much as the row. The
 * tail is a vector that ends with the row and so overlaps the one before. */
static inline void copy_row(char *dst, const char *src, size_t bytes) {
    if (bytes < 4 * HC_VBYTES || bytes > ROW_BYTES) {
        memcpy(dst, src, bytes);
        return;
    }
    vf a, b, c, d;
    size_t i = 0;
    for (; i + 4 * HC_VBYTES <= bytes; i += 4 * HC_VBYTES) {
        memcpy(&a, src + i, sizeof a);
        memcpy(&b, src + i + HC_VBYTES, sizeof b);
        memcpy(&c, src + i + 2 * HC_VBYTES, sizeof c);
        memcpy(&d, src + i + 3 * HC_VBYTES, sizeof d);
        __asm__ volatile("" ::: "memory"); /* else the compiler turns the loop into a call of memcpy again */
        memcpy(dst + i, &a, sizeof a);
        memcpy(dst + i + HC_VBYTES, &b, sizeof b);
        memcpy(dst + i + 2 * HC_VBYTES, &c, sizeof c);
        memcpy(dst + i + 3 * HC_VBYTES, &d, sizeof d);
    }
    for (; i + HC_VBYTES <= bytes; i += HC_VBYTES) {
        memcpy(&a, src + i, sizeof a);
        __asm__ volatile("" ::: "memory");
        memcpy(dst + i, &a, sizeof a);
    }
    memcpy(&a, src + bytes - HC_VBYTES, sizeof a); /* the last bytes, some of them again */
    memcpy(dst + bytes - HC_VBYTES, &a, sizeof a);
}

#define DEFINE_MOVE(size, type)                                                                              \
    void HC_FN(hc_move_##size)(size_t n, void *dst, int64_t dst_stride, const void *src,                     \
                               int64_t src_stride) {                                                         \
        const char *x = src;                                                                                 \
        char *y = dst;                                                                                       \
        if (src_stride == size && dst_stride == size) {                                                      \
            copy_row(y, x, n * size);                                                                        \
        } else if (src_stride == 0 && dst_stride == size) {                                                  \
            const type value = *(const type *)src;                                                           \
            type *run = dst;                                                                                 \
            for (size_t i = 0; i < n; i++) run[i] = value;                                                   \
        } else if (src_stride == -size && dst_stride == size) {                                              \
            const type *last = src;                                                                          \
            type *run = dst;                                                                                 \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) run[i] = last[-(int64_t)i];                  \
        } else if (dst_stride == size) {                                                                     \
            type *run = dst;                                                                                 \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) run[i] =                                     \
                *(const type *)(x + (int64_t)i * src_stride);                                                \
        } else {                                                                                             \
            for (size_t i = 0; i < n; i++, x += src_stride, y += dst_stride) *(type *)y = *(const type *)x;  \
        }                                                                                                    \
    }
FOR_SIZES(DEFINE_MOVE)

typedef uint8_t v1 __attribute__((vector_size(16)));
typedef uint16_t v2 __attribute__((vector_size(16)));
typedef uint32_t v4 __attribute__((vector_size(16)));
typedef uint64_t v8 __attribute__((vector_size(16)));
#define LOW_1(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_1(a, b)                                                                                         \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOW_2(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_2(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW_8(a, b) __builtin_shufflevector(a, b, 0, 2)
#define HIGH_8(a, b) __builtin_shufflevector(a, b, 1, 3)

/* ROUND: from a to b. An even number of rounds ends in a, an odd one in b. */
#define ROUND(size, a, b)                                                                                    \
    _Pragma("GCC unroll 8") for (int i = 0; i < 8 / size; i++) {                                             \
        b[2 * i] = LOW_##size(a[i], a[i + 8 / size]);                                                        \
        b[2 * i + 1] = HIGH_##size(a[i], a[i + 8 / size]);                                                   \
    }
#define ROUNDS_8(a, b) ROUND(8, a, b)
#define ROUNDS_4(a, b) ROUND(4, a, b) ROUND(4, b, a)
#define ROUNDS_2(a, b) ROUND(2, a, b) ROUND(2, b, a) ROUND(2, a, b)
#define ROUNDS_1(a, b) ROUND(1, a, b) ROUND(1, b, a) ROUND(1, a, b) ROUND(1, b, a)
#define RESULT_8(a, b) b
#define RESULT_4(a, b) a
#define RESULT_2(a, b) b
#define RESULT_1(a, b) a

#define DEFINE_SQUARE(size)                                                                                  \
    static inline void square_##size(char *dst, int64_t dst_stride, const char *src, int64_t src_stride) {   \
        enum { N = 16 / size };                                                                              \
        v##size a[N], b[N];                                                                                  \
        _Pragma("GCC unroll 16") for (int i = 0; i < N; i++) memcpy(&a[i], src + i * src_stride, 16);        \
        ROUNDS_##size(a, b) _Pragma("GCC unroll 16") for (int i = 0; i < N; i++)                             \
            memcpy(dst + i * dst_stride, &RESULT_##size(a, b)[i], 16);                                       \
    }
DEFINE_SQUARE(1)
DEFINE_SQUARE(2)
DEFINE_SQUARE(4)
DEFINE_SQUARE(8)

#define DEFINE_EDGE(size, type)                                                                              \
    static inline void edge_##size(size_t rows, size_t cols, char *dst, int64_t dst_stride, const char *src, \
                                   int64_t src_stride) {                                                     \
        for (size_t r = 0; r < rows; r++) {                                                                  \
            const type *x = (const type *)(src + (int64_t)r * src_stride);                                   \
            for (size_t c = 0; c < cols; c++) ((type *)(dst + (int64_t)c * dst_stride))[r] = x[c];           \
        }                                                                                                    \
    }
FOR_SIZES(DEFINE_EDGE)

#define DEFINE_TRANSPOSE(size, type)                                                                         \
    void HC_FN(hc_transpose_##size)(size_t rows, size_t cols, void *dst, int64_t dst_stride,                 \
                                    const void *src, int64_t src_stride) {                                   \
        enum { N = 16 / size };                                                                              \
        const size_t whole_rows = rows / N * N, whole_cols = cols / N * N;                                   \
        const char *x = src;                                                                                 \
        char *y = dst;                                                                                       \
        for (size_t r = 0; r < whole_rows; r += N, x += N * src_stride, y += 16) {                           \
            for (size_t c = 0; c < whole_cols; c += N) {                                                     \
                square_##size(y + (int64_t)c * dst_stride, dst_stride, x + c * size, src_stride);            \
            }                                                                                                \
            edge_##size(N, cols - whole_cols, y + (int64_t)whole_cols * dst_stride, dst_stride,              \
                        x + whole_cols * size, src_stride);                                                  \
        }                                                                                                    \
        edge_##size(rows - whole_rows, cols, y, dst_stride, x, src_stride);                                  \
    }
DEFINE_TRANSPOSE(1, uint8_t)
DEFINE_TRANSPOSE(2, uint16_t)
DEFINE_TRANSPOSE(4, uint32_t)
DEFINE_TRANSPOSE(8, uint64_t)
void HC_FN(hc_transpose_16)(size_t rows, size_t cols, void *dst, int64_t dst_stride, const void *src,
                            int64_t src_stride) {
    edge_16(rows, cols, dst, dst_stride, src, src_stride);
}
#else
hc_move_fn *hc_move_for(size_t item_size) {
    static hc_move_fn *const *const TABLES[] = {hc_move_1_table, hc_move_2_table, hc_move_4_table,
                                                hc_move_8_table, hc_move_16_table};
    return TABLES[hc_size_index(item_size)][hc_isa()];
}

hc_transpose_fn *hc_transpose_for(size_t item_size) {
    static hc_transpose_fn *const *const TABLES[] = {hc_transpose_1_table, hc_transpose_2_table,
                                                     hc_transpose_4_table, hc_transpose_8_table,
                                                     hc_transpose_16_table};
    return TABLES[hc_size_index(item_size)][hc_isa()];
}
#endif
