// SPDX-License-Identifier: Apache-2.0
/* Descriptors, broadcasting, overlap, promotion, conversion of the 16-bit floats. */
#include <math.h>
#include <stdint.h>

#include "aclnnop/aclnn_ops.h"
#include "harness.h"
#include "hc_error.h"
#include "hc_tensor.h"
#include "simd_half.h"

static aclTensor *make(const int64_t *dims, const int64_t *strides, uint64_t rank, aclDataType dtype,
                       void *data) {
    const int64_t storage = 1000;
    return aclCreateTensor(dims, rank, dtype, strides, 0, ACL_FORMAT_ND, &storage, 1, data);
}

TEST(create_copies_what_it_is_given) {
    int64_t dims[] = {2, 3}, strides[] = {3, 1};
    float data[6];
    aclTensor *t = make(dims, strides, 2, ACL_FLOAT, data);
    dims[0] = 99;
    CHECK(t && t->shape[0] == 2 && t->numel == 6 && t->item_size == 4);
    CHECK(strcmp(HC_SHOW(t), "float32[2,3]") == 0);
    CHECK_EQ(aclDestroyTensor(t), 0);
    CHECK_EQ(aclDestroyTensor(NULL), 0);
}

TEST(create_refuses_bad_shapes) {
    int64_t dims[HC_MAX_RANK + 1] = {1};
    CHECK(make(dims, NULL, HC_MAX_RANK + 1, ACL_FLOAT, NULL) == NULL);
    CHECK(strstr(hc_error_text(), "17 dimensions") != NULL);
    dims[0] = -1;
    CHECK(make(dims, NULL, 1, ACL_FLOAT, NULL) == NULL);
    CHECK(make(NULL, NULL, 2, ACL_FLOAT, NULL) == NULL);
}

/* The client goes on with NULL: the operator that gets it says why there is no tensor. */
TEST(a_null_argument_says_why) {
    int64_t dims[HC_MAX_RANK + 1];
    for (int i = 0; i <= HC_MAX_RANK; i++) dims[i] = i == 3 ? 7 : 1;
    float data[8] = {0}, one = 1;
    uint64_t bytes;
    aclOpExecutor *executor = NULL;
    aclTensor *t = make(dims, NULL, HC_MAX_RANK + 1, ACL_FLOAT, data);
    aclScalar *value = aclCreateScalar(&one, ACL_FLOAT); /* made in between, and well */
    CHECK(t == NULL && value != NULL);
    CHECK_EQ(aclnnInplaceFillScalarGetWorkspaceSize(t, value, &bytes, &executor), ACLNN_ERR_PARAM_NULLPTR);
    const char *text = hc_error_text();
    CHECK_MSG(strstr(text, "aclnnInplaceFillScalar: selfRef is null (aclCreateTensor: viewDims [1,1,1,7,1") !=
                  NULL,
              "%s", text);
    CHECK_MSG(strstr(text, "has 17 dimensions, at most 16 are supported") != NULL, "%s", text);
    /* Told once, and not about an operator after one that went well. */
    CHECK_EQ(aclnnInplaceFillScalarGetWorkspaceSize(NULL, value, &bytes, &executor), ACLNN_ERR_PARAM_NULLPTR);
    CHECK(strstr(hc_error_text(), "aclCreateTensor") == NULL);
    CHECK(make(dims, NULL, HC_MAX_RANK + 1, ACL_FLOAT, data) == NULL);
    t = make(dims, NULL, 4, ACL_FLOAT, data);
    CHECK_EQ(aclnnInplaceFillScalarGetWorkspaceSize(t, value, &bytes, &executor), 0);
    CHECK_EQ(aclDestroyAclOpExecutor(executor), 0);
    CHECK_EQ(aclnnInplaceFillScalarGetWorkspaceSize(NULL, value, &bytes, &executor), ACLNN_ERR_PARAM_NULLPTR);
    CHECK(strstr(hc_error_text(), "aclCreateTensor") == NULL);
    aclDestroyTensor(t);
    aclDestroyScalar(value);
}

TEST(view_must_lie_in_its_storage) {
    const int64_t two[] = {2, 3}, storage = 6, strides[] = {3, 1}, back[] = {-3, 1};
    float data[6];
    CHECK(aclCreateTensor(two, 2, ACL_FLOAT, strides, 1, ACL_FORMAT_ND, &storage, 1, data) == NULL);
    CHECK(strstr(hc_error_text(),
                 "viewDims [2,3] with stride [3,1] and offset 1 reach beyond the storage of 6") != NULL);
    CHECK(aclCreateTensor(two, 2, ACL_FLOAT, back, 2, ACL_FORMAT_ND, &storage, 1, data) == NULL);
    aclTensor *t = aclCreateTensor(two, 2, ACL_FLOAT, back, 3, ACL_FORMAT_ND, &storage, 1, data);
    CHECK(t != NULL);
    aclDestroyTensor(t);
}

TEST(view_shape_is_the_callers) {
    int64_t dims[] = {4, 0, 5}, *shape = NULL;
    uint64_t rank = 0;
    aclTensor *t = make(dims, NULL, 3, ACL_INT8, NULL);
    CHECK_EQ(aclGetViewShape(t, &shape, &rank), 0);
    CHECK(rank == 3 && shape[0] == 4 && shape[1] == 0 && shape[2] == 5);
    free(shape);
    aclDestroyTensor(t);
    CHECK(aclGetViewShape(NULL, &shape, &rank) == ACLNN_ERR_PARAM_NULLPTR);
}

TEST(broadcast) {
    const int64_t a_dims[] = {4, 1, 6}, b_dims[] = {5, 1}, c_dims[] = {7};
    char memory[1000];
    aclTensor *a = make(a_dims, NULL, 3, ACL_INT8, memory), *b = make(b_dims, NULL, 2, ACL_INT8, memory);
    aclTensor *c = make(c_dims, NULL, 1, ACL_INT8, memory), view;
    int64_t shape[HC_MAX_RANK];
    int32_t rank;
    CHECK(hc_broadcast_shape(a, b, shape, &rank) && rank == 3);
    CHECK(shape[0] == 4 && shape[1] == 5 && shape[2] == 6);
    CHECK(hc_broadcast_to(b, shape, rank, &view));
    CHECK(view.stride[0] == 0 && view.stride[1] == 1 && view.stride[2] == 0 && view.numel == 120);
    CHECK(!hc_broadcast_shape(a, c, shape, &rank));
    CHECK(!hc_broadcast_to(a, b_dims, 2, &view));
    aclDestroyTensor(a);
    aclDestroyTensor(b);
    aclDestroyTensor(c);
}

TEST(overlap) {
    float memory[100];
    const int64_t eight[] = {8}, two[] = {2};
    aclTensor a = hc_tensor_view(ACL_FLOAT, eight, 1, memory),
              b = hc_tensor_view(ACL_FLOAT, eight, 1, memory + 4);
    aclTensor c = hc_tensor_view(ACL_FLOAT, two, 1, memory + 50);
    CHECK(!hc_overlaps_partly(&a, &a));
    CHECK(hc_overlaps_partly(&a, &b));
    CHECK(!hc_overlaps_partly(&a, &c));
    b.numel = 0;
    CHECK(!hc_overlaps_partly(&a, &b));
}

TEST(promotion_is_pytorchs) {
    CHECK_EQ(hc_dtype_promote(ACL_BF16, ACL_FLOAT16), ACL_FLOAT);
    CHECK_EQ(hc_dtype_promote(ACL_INT64, ACL_FLOAT16), ACL_FLOAT16);
    CHECK_EQ(hc_dtype_promote(ACL_UINT8, ACL_INT8), ACL_INT16);
    CHECK_EQ(hc_dtype_promote(ACL_BOOL, ACL_UINT8), ACL_UINT8);
    CHECK_EQ(hc_dtype_promote(ACL_DOUBLE, ACL_COMPLEX64), ACL_COMPLEX128);
    CHECK_EQ(hc_dtype_promote(ACL_INT32, ACL_COMPLEX64), ACL_COMPLEX64);
    CHECK_EQ(hc_dtype_size(ACL_STRING), 0);
}

TEST(every_float16_round_trips) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const hc_f16 x = {(uint16_t)bits};
        const float f = hc_f16_to_f32(x);
        const hc_f16 back = hc_f32_to_f16(f);
        if (isnan(f)) CHECK(isnan(hc_f16_to_f32(back)));
        else CHECK_MSG(back.bits == bits, "%04x became %04x", bits, back.bits);
    }
}

TEST(bfloat16_rounds_to_even_and_keeps_nan) {
    CHECK_EQ(hc_f32_to_bf16(hc_bits_f32(0x3f808000u)).bits, 0x3f80);
    CHECK_EQ(hc_f32_to_bf16(hc_bits_f32(0x3f818000u)).bits, 0x3f82);
    CHECK(isnan(hc_bf16_to_f32(hc_f32_to_bf16(hc_bits_f32(0x7f800001u)))));
    CHECK(isinf(hc_bf16_to_f32(hc_f32_to_bf16(INFINITY))));
    CHECK(isinf(hc_bf16_to_f32(hc_f32_to_bf16(hc_bits_f32(0x7f7fffffu)))));
}

TEST(scalars_and_lists) {
    float f = 1.5f;
    int64_t i = -7;
    aclScalar *a = aclCreateScalar(&f, ACL_FLOAT), *b = aclCreateScalar(&i, ACL_INT64);
    CHECK(hc_scalar_f64(a) == 1.5 && hc_scalar_i64(b) == -7 && hc_scalar_f64(b) == -7.0);
    CHECK(aclCreateScalar(NULL, ACL_FLOAT) == NULL);
    aclScalar *const both[] = {a, b};
    aclScalarList *list = aclCreateScalarList((const aclScalar *const *)both, 2);
    CHECK(list && list->size == 2 && list->data[1] == b);
    CHECK_EQ(aclDestroyScalarList(list), 0);
    aclIntArray *empty = aclCreateIntArray(NULL, 0);
    CHECK(empty && empty->size == 0);
    aclDestroyIntArray(empty);
    CHECK(aclCreateIntArray(NULL, 3) == NULL);
}
