// SPDX-License-Identifier: Apache-2.0
/* Descriptors, attributes, and what is refused: graphs, dumps, NPU binaries. */
#include "runtime_test.h"

TEST(tensor_descriptor) {
    const int64_t dims[] = {2, 3, 4};
    int64_t dim = 0;
    aclTensorDesc *d = aclCreateTensorDesc(ACL_BF16, 3, dims, ACL_FORMAT_ND);
    CHECK(d != NULL);
    CHECK_EQ(aclGetTensorDescType(d), ACL_BF16);
    CHECK_EQ(aclGetTensorDescNumDims(d), 3);
    CHECK_EQ(aclGetTensorDescSize(d), 48);
    CHECK_OK(aclGetTensorDescDimV2(d, 2, &dim));
    CHECK_EQ(dim, 4);
    CHECK_FAILS(aclGetTensorDescDimV2(d, 3, &dim), ACL_ERROR_INVALID_PARAM, "index 3");
    CHECK_OK(aclSetTensorFormat(d, ACL_FORMAT_FRACTAL_NZ));
    CHECK_EQ(aclGetTensorDescFormat(d), ACL_FORMAT_FRACTAL_NZ);
    CHECK_OK(aclSetTensorShape(d, 2, dims));
    CHECK_OK(aclSetTensorPlaceMent(d, ACL_MEMTYPE_HOST));
    CHECK_OK(aclSetTensorConst(d, &dim, sizeof dim));
    aclSetTensorDescName(d, "x");
    aclDestroyTensorDesc(d);
    aclDestroyTensorDesc(NULL);
    CHECK_EQ(aclGetTensorDescType(d), ACL_DT_UNDEFINED); /* freed */
    CHECK_FAILS(aclSetTensorFormat(d, 0), ACL_ERROR_RT_INVALID_HANDLE, "tensor descriptor");
    CHECK(aclCreateTensorDesc(ACL_FLOAT, 200, dims, ACL_FORMAT_ND) == NULL);
    d = aclCreateTensorDesc(ACL_FLOAT, 0, NULL, ACL_FORMAT_ND);
    CHECK_EQ(aclGetTensorDescSize(d), 4);
    aclDestroyTensorDesc(d);
}

TEST(data_buffer) {
    int x;
    aclDataBuffer *b = aclCreateDataBuffer(&x, sizeof x);
    CHECK(aclGetDataBufferAddr(b) == &x);
    CHECK_OK(aclUpdateDataBuffer(b, NULL, 0));
    CHECK(aclGetDataBufferAddr(b) == NULL);
    CHECK_OK(aclDestroyDataBuffer(b));
    CHECK_FAILS(aclDestroyDataBuffer(b), ACL_ERROR_RT_INVALID_HANDLE, "data buffer");
}

TEST(attributes) {
    aclopAttr *a = aclopCreateAttr();
    const int64_t ints[] = {1, 2, 3};
    const int64_t *const lists[] = {ints, ints + 1};
    const int counts[] = {3, 2};
    const uint8_t bools[] = {1, 0};
    const float floats[] = {0.5f};
    const char *texts[] = {"a", "bc"};
    CHECK_OK(aclopSetAttrBool(a, "b", 1));
    CHECK_OK(aclopSetAttrInt(a, "i", 7));
    CHECK_OK(aclopSetAttrInt(a, "i", 8)); /* replaces */
    CHECK_OK(aclopSetAttrFloat(a, "f", 0.25f));
    CHECK_OK(aclopSetAttrDataType(a, "d", ACL_FLOAT16));
    CHECK_OK(aclopSetAttrString(a, "s", "text"));
    CHECK_OK(aclopSetAttrListInt(a, "li", 3, ints));
    CHECK_OK(aclopSetAttrListBool(a, "lb", 2, bools));
    CHECK_OK(aclopSetAttrListFloat(a, "lf", 1, floats));
    CHECK_OK(aclopSetAttrListString(a, "ls", 2, texts));
    CHECK_OK(aclopSetAttrListListInt(a, "ll", 2, counts, lists));
    CHECK_OK(aclopSetAttrListInt(a, "empty", 0, NULL));
    CHECK_FAILS(aclopSetAttrInt(a, NULL, 1), ACL_ERROR_INVALID_PARAM, "null");
    CHECK_FAILS(aclopSetAttrString(a, "s", NULL), ACL_ERROR_INVALID_PARAM, "aclopSetAttrString");
    aclopDestroyAttr(a);
    CHECK_EQ(aclopSetAttrInt(a, "i", 1), ACL_ERROR_RT_INVALID_HANDLE);
}

TEST(dumps_are_refused) {
    use_device(0);
    CHECK_FAILS(aclmdlInitDump(), ACL_ERROR_FEATURE_UNSUPPORTED, "aclmdlInitDump");
    aclrtBinHandle binary;
    CHECK_FAILS(aclrtBinaryLoadFromData("x", 1, NULL, &binary), ACL_ERROR_FEATURE_UNSUPPORTED,
                "compiled for the NPU");
}
