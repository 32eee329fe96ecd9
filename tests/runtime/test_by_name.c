// SPDX-License-Identifier: Apache-2.0
/* Operators by name: where errors go, and what waits for what. What they compute is in tests/ops/byname. */
#include <pthread.h>
#include <sys/prctl.h>

#include "hc_by_name.h"
#include "runtime_test.h"

/* x[3] of int32 as float32, or reversed by a step of -1. */
struct operands {
    aclTensorDesc *in[4], *out;
    aclDataBuffer *data[4], *result;
    int64_t lists[3];
};

static struct operands make(aclDataType from, void *x, aclDataType to, void *y) {
    const int64_t n = 3, one = 1;
    struct operands o = {.lists = {2, -4, -1}};
    o.in[0] = aclCreateTensorDesc(from, 1, &n, ACL_FORMAT_ND);
    o.data[0] = aclCreateDataBuffer(x, 12);
    for (int i = 0; i < 3; i++) {
        o.in[i + 1] = aclCreateTensorDesc(ACL_INT64, 1, &one, ACL_FORMAT_ND);
        aclSetTensorPlaceMent(o.in[i + 1], ACL_MEMTYPE_HOST);
        o.data[i + 1] = aclCreateDataBuffer(&o.lists[i], 8);
    }
    o.out = aclCreateTensorDesc(to, 1, &n, ACL_FORMAT_ND);
    o.result = aclCreateDataBuffer(y, 12);
    return o;
}

static aclError launch(const char *type, struct operands *o, int inputs, aclrtStream stream) {
    for (int i = 0; i < 3; i++) aclUpdateDataBuffer(o->data[i + 1], &o->lists[i], 8); /* o may have moved */
    return aclopCompileAndExecute(
        type, inputs, (const aclTensorDesc *const *)o->in, (const aclDataBuffer *const *)o->data, 1,
        (const aclTensorDesc *const *)&o->out, &o->result, NULL, 0, 0, NULL, stream);
}

static void destroy(struct operands *o) {
    for (int i = 0; i < 4; i++) {
        aclDestroyTensorDesc(o->in[i]);
        aclDestroyDataBuffer(o->data[i]);
    }
    aclDestroyTensorDesc(o->out);
    aclDestroyDataBuffer(o->result);
}

TEST(a_missing_operator_is_an_error_of_the_call) {
    use_device(0);
    CHECK_FAILS(aclopCompileAndExecute("Conv2D", 0, NULL, NULL, 0, NULL, NULL, NULL, 0, 0, NULL, NULL),
                ACL_ERROR_OP_NOT_FOUND, "aclopCompileAndExecute: operator type Conv2D is not available");
    CHECK_FAILS(aclopCompileAndExecuteV2("MaxPool", 0, NULL, NULL, 0, NULL, NULL, NULL, 0, 0, NULL, NULL),
                ACL_ERROR_OP_NOT_FOUND, "aclopCompileAndExecuteV2: operator type MaxPool is not available");
    CHECK_FAILS(aclopCompileAndExecute(NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, 0, 0, NULL, NULL),
                ACL_ERROR_INVALID_PARAM, "opType is null");
    CHECK_OK(aclrtSynchronizeStream(NULL));
}

TEST(handles_are_checked) {
    use_device(0);
    int32_t x[3] = {1, 2, 3}, y[3] = {0};
    struct operands o = make(ACL_INT32, x, ACL_INT32, y);
    CHECK_OK(launch("StridedSlice", &o, 4, NULL));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK(y[0] == 3 && y[1] == 2 && y[2] == 1);
    CHECK_FAILS(aclopCompileAndExecute("Cast", 1, NULL, NULL, 1, NULL, NULL, NULL, 0, 0, NULL, NULL),
                ACL_ERROR_INVALID_PARAM, "operator Cast: the list of input descriptors is null");
    aclTensorDesc *kept = o.in[1];
    o.in[1] = NULL;
    CHECK_EQ(launch("StridedSlice", &o, 4, NULL) != 0, 1);
    CHECK_MSG(strstr(aclGetRecentErrMsg(), "operator StridedSlice: input 1 (begin)") != NULL, "%s",
              aclGetRecentErrMsg());
    o.in[1] = kept;
    aclDestroyDataBuffer(o.result);
    CHECK_FAILS(launch("StridedSlice", &o, 4, NULL), ACL_ERROR_RT_INVALID_HANDLE, "output 0 (y)");
    o.result = aclCreateDataBuffer(y, 12);
    aclopAttr *attr = aclopCreateAttr();
    aclopDestroyAttr(attr);
    CHECK_FAILS(aclopCompileAndExecute(
                    "Cast", 1, (const aclTensorDesc *const *)o.in, (const aclDataBuffer *const *)o.data, 1,
                    (const aclTensorDesc *const *)&o.out, &o.result, attr, 0, 0, NULL, NULL),
                ACL_ERROR_INVALID_PARAM, "no live operator attributes");
    CHECK_FAILS(launch("StridedSlice", &o, 4, (aclrtStream)&o), ACL_ERROR_RT_INVALID_HANDLE, "stream");
    destroy(&o);
}

/* torch_npu's thread has this name. An error it gets from a launch would end its queue. */
static void *in_queue_thread(void *arg) {
    aclError *codes = arg;
    prctl(PR_SET_NAME, "acl_thread");
    use_device(0);
    int32_t x[3] = {1, 2, 3};
    float y[3] = {0};
    struct operands o = make(ACL_INT32, x, ACL_INT32, y);
    codes[0] = aclopCompileAndExecute("Conv2D", 0, NULL, NULL, 0, NULL, NULL, NULL, 0, 0, NULL, NULL);
    codes[1] = aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL);
    codes[2] = aclrtSynchronizeStream(NULL);
    codes[3] = strstr(aclGetRecentErrMsg(), "operator type Conv2D is not available") != NULL &&
               strstr(aclGetRecentErrMsg(), "TASK_QUEUE_ENABLE=0") != NULL;
    o.lists[2] = 0; /* the step */
    codes[4] = launch("StridedSlice", &o, 4, NULL);
    codes[5] = aclrtSynchronizeStream(NULL);
    codes[6] = strstr(aclGetRecentErrMsg(), "operator StridedSlice: strides[0] is 0") != NULL;
    codes[7] = aclrtSynchronizeStream(NULL);
    destroy(&o);
    return NULL;
}

TEST(in_torch_npus_queue_an_error_comes_with_the_synchronise) {
    pthread_t thread;
    aclError codes[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    CHECK_EQ(pthread_create(&thread, NULL, in_queue_thread, codes), 0);
    pthread_join(thread, NULL);
    CHECK_EQ(codes[0], 0);
    CHECK_EQ(codes[1], 0);
    CHECK_EQ(codes[2], ACL_ERROR_OP_NOT_FOUND);
    CHECK(codes[3]);
    CHECK_EQ(codes[4], 0);
    CHECK_EQ(codes[5], ACL_ERROR_INVALID_PARAM);
    CHECK(codes[6]);
    CHECK_EQ(codes[7], 0);
}

/* Writes 1, 2, 3 after a while; fails if there is nowhere to write. */
static aclError produce(void *arg) {
    int32_t *x = arg;
    sleep_ms(100);
    if (x == NULL) return ACL_ERROR_INTERNAL_ERROR;
    for (int i = 0; i < 3; i++) x[i] = i + 1;
    return ACL_SUCCESS;
}

static aclError produce_in(aclrtStream stream, int32_t *x) {
    return hc_launch(stream,
                     &(struct hc_task){.name = "produce", .may_block = true, .arg = x, .run = produce});
}

/* x in memory of device 0, y and the stream on device 1: torch_npu's x.to("npu:1", dtype). */
TEST(a_cast_between_devices_waits_for_both) {
    void *x, *y;
    aclrtStream producer, stream;
    use_device(0);
    CHECK_OK(aclrtMalloc(&x, 12, 0));
    CHECK_OK(aclrtCreateStream(&producer));
    use_device(1);
    CHECK_OK(aclrtMalloc(&y, 12, 0));
    CHECK_OK(aclrtCreateStream(&stream));
    struct operands o = make(ACL_INT32, x, ACL_FLOAT, y);
    memset(x, 0, 12);
    CHECK_OK(produce_in(producer, x));
    CHECK_OK(launch("Cast", &o, 1, stream));
    memset(x, 0, 12); /* it has been read */
    const float *result = y;
    CHECK(result[0] == 1 && result[1] == 2 && result[2] == 3);
    /* What the destination's stream has in front is waited for too. */
    CHECK_OK(produce_in(stream, x));
    CHECK_OK(launch("Cast", &o, 1, stream));
    CHECK(result[0] == 1);
    /* A producer that has failed is the cast's error as well, and still the other stream's. */
    CHECK_OK(produce_in(producer, NULL));
    CHECK_FAILS(launch("Cast", &o, 1, stream), ACL_ERROR_INTERNAL_ERROR, "operator Cast: produce");
    CHECK_EQ(aclrtSynchronizeStream(producer), ACL_ERROR_INTERNAL_ERROR);
    CHECK_OK(aclrtSynchronizeStream(stream));
    destroy(&o);
    CHECK_OK(aclrtDestroyStream(stream));
    CHECK_OK(aclrtFree(y));
    use_device(0);
    CHECK_OK(aclrtDestroyStream(producer));
    CHECK_OK(aclrtFree(x));
}

/* On one device, and for what clients order themselves, the call returns at once. */
TEST(others_are_queued) {
    void *x, *y;
    aclrtStream stream;
    use_device(0);
    CHECK_OK(aclrtCreateStream(&stream));
    CHECK_OK(aclrtMalloc(&x, 12, 0));
    for (int device = 0; device < 2; device++) {
        use_device(device);
        CHECK_OK(aclrtMalloc(&y, 12, 0));
        use_device(0);
        int32_t *result = y;
        result[0] = 9;
        memset(x, 0, 12);
        struct operands o = make(ACL_INT32, x, ACL_INT32, y);
        CHECK_OK(produce_in(stream, x));
        CHECK_OK(launch("StridedSlice", &o, 4, stream));
        destroy(&o); /* all of it has been read */
        CHECK_EQ(result[0], 9);
        CHECK_OK(aclrtSynchronizeStream(stream));
        CHECK(result[0] == 3 && result[2] == 1);
        CHECK_OK(aclrtFree(y));
    }
    CHECK_OK(aclrtFree(x));
    CHECK_OK(aclrtDestroyStream(stream));
}

TEST(the_list_of_operators) {
    char text[512];
    size_t count = 0;
    bool found = false;
    for (; hc_by_name_describe(count, text, sizeof text); count++) {
        found = found || strcmp(text, "conversion\tSlice\tx, [offsets], [size] -> y\t\ta part of x") == 0;
    }
    CHECK(count >= 7 && found);
}
