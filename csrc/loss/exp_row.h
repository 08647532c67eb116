/* exp_row.h - the sum of e^z over a row that is read once, and a second sweep over what was kept of it.
 *
 * A row is read in blocks that fit into the first cache. Exponentials are taken of d = z - ref, where the reference need
 * not be the largest logit: it is raised, and what is summed so far is scaled down, only where a block has a logit that
 * lies more than SLACK above it. So nearly every row has the reference of its first block, and each element is raised to
 * e once. The largest logit of a block is found while the block before it is swept, which also brings it near.
 *
 *     for the gradient, exp(d) is kept - over the logits, in the gradient's place or in scratch - with the stretches
 *     |  block 0  |  block 1  |  block 2  |  block 3  | ...      of the row that have one reference:
 *     | from 0: ref = 3.1                | from 3: ref = 21.7    a second sweep of the row, which lies in the second cache
 *                                                                by now, multiplies each stretch by its factor
 *
 * The label is left out of the sums, so that 1 - p[label] is others / sum however small it is. Sums of a block are floats,
 * those of a row doubles. */
#ifndef LF_LOSS_EXP_ROW_H
#define LF_LOSS_EXP_ROW_H

#include <float.h>
#include <math.h>

#include "loss/float.h"

enum { BLOCK = 1024, SLACK = 16, STEP = 4 * LANES, AHEAD = 6144 };

/* Elements from `from` on were measured from `ref`. */
typedef struct {
    size_t from;
    float ref;
} stretch;

typedef struct {
    double others; /* sum of exp(z - ref) over all classes but the label */
    double sum_z;  /* sum of z over the same, if that was asked for */
    float ref;
    size_t n_stretches;
    int beaten; /* another logit is greater than the label's, or as great and before it */
} row_sums;

/* Elements until the next line of 64 bytes. */
LF_INLINE size_t until_line(lf_float type, const void *p) {
    return ((64 - ((uintptr_t)p & 63)) & 63) / lf_float_size(type);
}

LF_INLINE void prefetch(lf_float type, const void *p, size_t i, size_t bytes_ahead) {
    const char *at = (const char *)p + i * lf_float_size(type) + bytes_ahead;
    for (size_t k = 0; k < STEP * lf_float_size(type); k += 64) __builtin_prefetch(at + k, 0, 3);
}

LF_INLINE float top_of(lf_float type, const void *x, size_t a, size_t b) {
    vf top[4] = {v_all(-INFINITY), v_all(-INFINITY), v_all(-INFINITY), v_all(-INFINITY)};
    size_t i = a;
    for (; i + STEP <= b; i += STEP)
        for (size_t k = 0; k < 4; k++) top[k] = v_max(v_load(type, x, i + k * LANES), top[k]);
    for (; i < b; i += LANES) top[0] = v_max(v_load_part(type, x, i, b - i, -INFINITY), top[0]);
    return v_top(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])));
}

/* Sum of e^(scale * x - ref) over [a, b), which is kept in e if that is not NULL, and of the exponents themselves if
 * `need_d`. *next_top is the largest element of the `ahead` elements that follow b - a elements after a, if not 0. */
LF_INLINE float sweep(lf_float type, const void *x, size_t a, size_t b, float scale, float ref, float *e, int need_d,
                      float *sum_d, size_t ahead, float *next_top) {
    const vf factor = v_all(scale), minus_ref = v_all(-ref), none = v_all(-INFINITY);
    vf sum[4] = {v_all(0.0f), v_all(0.0f), v_all(0.0f), v_all(0.0f)}, sum_of_d[2] = {sum[0], sum[0]};
    vf top[2] = {none, none};
    size_t i = a;
    for (size_t n; i < b; i += n) { /* to a line's beginning; the steps between; the rest */
        size_t head = until_line(type, (const char *)x + i * lf_float_size(type));
        if (head == 0 && i + STEP <= b) {
            for (; i + STEP <= b; i += STEP) {
                prefetch(type, x, i, AHEAD);
                vf d[4];
                for (size_t k = 0; k < 4; k++) {
                    d[k] = v_fma(v_load(type, x, i + k * LANES), factor, minus_ref);
                    if (ahead) top[k & 1] = v_max(v_load(type, x, i + ahead + k * LANES), top[k & 1]);
                    if (need_d) sum_of_d[k & 1] = v_add(sum_of_d[k & 1], d[k]);
                }
                for (size_t k = 0; k < 4; k++) d[k] = v_exp(d[k]);
                if (e) v_store4(LF_F32, e, i, d, 0);
                for (size_t k = 0; k < 4; k++) sum[k] = v_add(sum[k], d[k]);
            }
            n = 0;
            continue;
        }
        n = LANES < b - i ? LANES : b - i;
        if (head && head < n) n = head;
        vf d = v_fma(v_load_part(type, x, i, n, -INFINITY), factor, minus_ref);
        if (need_d) {
            vf counted = v_fma(v_load_part(type, x, i, n, ref / scale), factor, minus_ref);
            sum_of_d[0] = v_add(sum_of_d[0], counted);
        }
        d = v_exp(d);
        if (e) v_store_part(LF_F32, e, i, d, n);
        sum[0] = v_add(sum[0], d);
    }
    if (ahead) *next_top = v_top(v_max(top[0], top[1]));
    if (need_d) *sum_d = v_sum(v_add(sum_of_d[0], sum_of_d[1]));
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* The sums of a row. `label` is left out of `others` and of sum_z; n for none. Where e is not NULL the exponentials are kept
 * there, which may be the row itself, and `stretches` has room for n / BLOCK + 2. */
LF_INLINE row_sums sum_row(lf_float type, const void *x, size_t n, float scale, size_t label, float *e, int need_d,
                           stretch *stretches) {
    const float own = label < n ? (float)lf_float_get(type, x, label) : 0.0f;
    row_sums s = {0.0, 0.0, 0.0f, 0, 0};
    float top = 0.0f, sum_d = 0.0f, ignore;
    int top_known = 0;
    for (size_t a = 0, b; a < n; a = b) {
        b = a + BLOCK + (a ? 0 : until_line(type, x));
        if (b > n) b = n;
        if (!top_known) top = top_of(type, x, a, b);
        if (label >= b) s.beaten |= top >= own;
        else if (label < a) s.beaten |= top > own;
        else s.beaten |= top_of(type, x, a, label) >= own || top_of(type, x, label + 1, b) > own;
        float z = top * scale;
        if (s.n_stretches == 0 || z > s.ref + SLACK) {
            float ref = z < -FLT_MAX ? -FLT_MAX : z; /* -inf - -inf would be no number */
            s.others *= exp((double)s.ref - ref);
            s.ref = ref;
            if (s.n_stretches == 0 || e) stretches[s.n_stretches++] = (stretch){a, ref};
        }
        top_known = 0;
        if (label >= a && label < b) {
            s.others += sweep(type, x, a, label, scale, s.ref, e, need_d, &sum_d, 0, &ignore);
            if (need_d) s.sum_z += sum_d + (double)s.ref * (double)(label - a);
            s.others += sweep(type, x, label + 1, b, scale, s.ref, e, need_d, &sum_d, 0, &ignore);
            if (need_d) s.sum_z += sum_d + (double)s.ref * (double)(b - label - 1);
        } else {
            top_known = a && b + BLOCK <= n;
            s.others += top_known ? sweep(type, x, a, b, scale, s.ref, e, need_d, &sum_d, BLOCK, &top)
                                  : sweep(type, x, a, b, scale, s.ref, e, need_d, &sum_d, 0, &ignore);
            if (need_d) s.sum_z += sum_d + (double)s.ref * (double)(b - a);
        }
    }
    return s;
}

/* out = e * factor + plus over [a, b). */
LF_INLINE void finish(lf_float type, void *out, const float *e, size_t a, size_t b, float factor, float plus,
                      int past_cache) {
    const vf f = v_all(factor), p = v_all(plus);
    size_t i = a;
    for (size_t n; i < b; i += n) {
        size_t head = until_line(type, (const char *)out + i * lf_float_size(type));
        if (head == 0 && i + STEP <= b) {
            for (; i + STEP <= b; i += STEP) {
                vf g[4];
                for (size_t k = 0; k < 4; k++) g[k] = v_fma(v_load(LF_F32, e, i + k * LANES), f, p);
                v_store4(type, out, i, g, past_cache);
            }
            n = 0;
            continue;
        }
        n = LANES < b - i ? LANES : b - i;
        if (head && head < n) n = head;
        v_store_part(type, out, i, v_fma(v_load_part(LF_F32, e, i, n, 0.0f), f, p), n);
    }
}

#endif
