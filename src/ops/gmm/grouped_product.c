// SPDX-License-Identifier: Apache-2.0
/* See grouped_product.h. */
#include "grouped_product.h"

#include "grouped_narrow.h"
#include "grouped_quant.h"
#include "temporary.h"

static const aclTensor *list_at(const struct hc_grouped_list *list, size_t i) {
    return list->at != NULL ? list->at[i] : list->flat + i;
}

/* An int32 weight holds eight int4 in each element. */
int64_t hc_grouped_product_columns(const struct hc_grouped_product *p) {
    const aclTensor *weight = list_at(&p->weight, 0);
    const aclTensor seen = hc_group_quant_weight(weight);
    return seen.shape[seen.rank - 1];
}

/* fp8 and hifloat8 have kernels and rules of scales of their own. */
static bool is_narrow(const struct hc_grouped_product *p) {
    return hc_is_narrow(list_at(&p->weight, 0)->dtype);
}

static struct hc_grouped grouped_of(const struct hc_grouped_product *p, const aclTensor *z) {
    return (struct hc_grouped){.name = p->name,
                               .x = p->x,
                               .weight = p->weight,
                               .bias = p->bias,
                               .y = hc_grouped_one(z),
                               .scale = p->scale,
                               .rows = p->rows,
                               .weight_offset = p->weight_offset,
                               .weight_name = "weight",
                               .y_name = "product",
                               .groups = (size_t)p->groups->numel,
                               .listed = true};
}

/* A weight of floating point has none of the scales; integers are both quantised. */
static aclnnStatus check_types(const struct hc_grouped_product *p) {
    const aclTensor *x = list_at(&p->x, 0), *weight = list_at(&p->weight, 0);
    if (hc_is_quantised(weight) && (x->dtype == ACL_INT8 || x->dtype == ACL_INT32)) return 0;
    HC_CHECK(hc_fits_f32(x->dtype) && hc_fits_f32(weight->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, weight %s: wanted both of int8 or int4, of fp8 or of floating point", p->name,
             HC_SHOW(x), HC_SHOW(weight));
    HC_CHECK(p->scale.n == 0 && p->rows.n == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: scales are given with weight %s, wanted none", p->name, HC_SHOW(weight));
    return 0;
}

/* The private layouts that are cut into tiles. */
static bool is_tiled(const aclTensor *t) {
    return t->format == ACL_FORMAT_FRACTAL_NZ ||
           (t->format >= ACL_FORMAT_FRACTAL_NZ_C0_16 && t->format <= ACL_FORMAT_FRACTAL_NZ_C0_8);
}

/* Every operand is there, and in the order of its dimensions. */
static aclnnStatus check_operands(const struct hc_grouped_product *p) {
    const aclTensor *groups = p->groups;
    HC_CHECK(p->x.n == 1 && p->weight.n > 0, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", p->name,
             p->x.n == 1 ? "weight" : "x");
    for (size_t i = 0; i < p->weight.n; i++) {
        const aclTensor *weight = list_at(&p->weight, i);
        HC_CHECK(weight != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: weight[%zu] is null", p->name, i);
        HC_CHECK(!is_tiled(weight) && weight->rank >= 2 && weight->rank <= 3, ACLNN_ERR_PARAM_INVALID,
                 "%s: weight is %s%s, wanted the format ND of 3 dimensions, or of 2 for each group", p->name,
                 HC_SHOW(weight), is_tiled(weight) ? " in FRACTAL_NZ" : "");
    }
    HC_CHECK(list_at(&p->x, 0)->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted 2 dimensions",
             p->name, HC_SHOW(list_at(&p->x, 0)));
    HC_CHECK(groups != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: groupList is null", p->name);
    HC_CHECK(groups->rank == 1 && groups->numel > 0 && hc_dtype_class(groups->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: groupList is %s, wanted int64 of one dimension", p->name,
             HC_SHOW(groups));
    return 0;
}

/* The product has no tensor of the caller's: its shape is made here and checked like one. */
aclnnStatus hc_grouped_product_check(const struct hc_grouped_product *p) {
    HC_TRY(check_operands(p));
    const int64_t shape[] = {list_at(&p->x, 0)->shape[0], hc_grouped_product_columns(p)};
    int64_t elements;
    HC_CHECK(hc_shape_numel(shape, 2, &elements), ACLNN_ERR_PARAM_INVALID,
             "%s: the product has %lld rows of %lld, which is too large", p->name, (long long)shape[0],
             (long long)shape[1]);
    const aclTensor z = hc_tensor_view(p->dtype, shape, 2, NULL);
    const struct hc_grouped g = grouped_of(p, &z);
    if (is_narrow(p)) {
        HC_CHECK(p->scale.n > 0, ACLNN_ERR_PARAM_NULLPTR, "%s: weight is %s and there is no scale", p->name,
                 HC_SHOW(list_at(&p->weight, 0)));
        return hc_grouped_narrow_check(&g);
    }
    HC_TRY(check_types(p));
    return hc_grouped_check(&g);
}

uint64_t hc_grouped_product_flops(const struct hc_grouped_product *p) {
    return 2 * (uint64_t)list_at(&p->x, 0)->numel * (uint64_t)hc_grouped_product_columns(p);
}

/* The list as the caller's memory has it now. */
static aclnnStatus read_groups(const struct hc_grouped_product *p, const struct hc_grouped *g,
                               int64_t *first) {
    int64_t *values = first + g->groups + 1;
    const aclTensor copy = hc_tensor_view(ACL_INT64, &p->groups->numel, 1, values);
    HC_TRY(hc_copy(&copy, p->groups));
    return hc_grouped_read(g, values, p->counts, first);
}

/* Both blocks are set before anything can fail, so that giving them back is always right. */
static aclnnStatus multiply(const struct hc_grouped_product *p, struct hc_grouped_result *result) {
    const int64_t shape[] = {list_at(&p->x, 0)->shape[0], hc_grouped_product_columns(p)};
    const size_t groups = hc_numel(p->groups);
    result->z = hc_tensor_view(p->dtype, shape, 2, NULL);
    result->owned = hc_block_take_array(hc_numel(&result->z), (size_t)result->z.item_size);
    result->first = hc_block_take_array(2 * groups + 1, sizeof *result->first);
    HC_CHECK(result->owned != NULL && result->first != NULL, ACLNN_ERR_INNER,
             "%s: out of host memory for a product of %s", p->name, HC_SHOW(&result->z));
    result->z = hc_tensor_view(p->dtype, shape, 2, result->owned);
    const struct hc_grouped g = grouped_of(p, &result->z);
    HC_TRY(read_groups(p, &g, result->first));
    return is_narrow(p) ? hc_grouped_narrow_run(&g, result->first) : hc_grouped_run(&g, result->first);
}

aclnnStatus hc_grouped_product_run(const struct hc_grouped_product *p, struct hc_grouped_result *result) {
    struct hc_grouped_product opened = *p;
    void *owned[2] = {NULL};
    *result = (struct hc_grouped_result){.owned = NULL};
    aclnnStatus status = hc_grouped_fp4_open(p->name, p->x_dtype, &opened.x, &owned[0]);
    if (status == 0) status = hc_grouped_fp4_open(p->name, p->weight_dtype, &opened.weight, &owned[1]);
    if (status == 0) status = multiply(&opened, result);
    hc_block_give(owned[0]);
    hc_block_give(owned[1]);
    return status;
}
