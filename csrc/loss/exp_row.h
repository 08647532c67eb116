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
 * Vectors take groups of STEP elements. The group that has the label and the one that the row's end cuts are copied, with
 * -inf for what is not to count: the label is left out of the sums, so that 1 - p[label] is others / sum however small it
 * is. Which lane an element falls into depends on its place in the row, never on its address, so a row's sums have the
 * same bits wherever it lies. Sums of a block are floats, those of a row doubles. */
#ifndef LF_LOSS_EXP_ROW_H
#define LF_LOSS_EXP_ROW_H

#include <float.h>
#include <math.h>

#include "loss/float.h"

enum { BLOCK = 1024, SLACK = 16, STEP = 4 * LANES };

/* How far ahead a row is brought near: over the end of the page, at which the processor's own prefetching stops, and as
 * far as it takes to find where the next page lies. Halves are read at half the speed, and half as far ahead. */
enum { BYTES_AHEAD = 10240 };

/* Elements from `from` on were measured from `ref`. */
typedef struct {
    size_t from;
    double ref;
} stretch;

typedef struct {
    double others; /* sum of exp(z - ref) over all classes but the label */
    double sum_z;  /* sum of z over the same, if that was asked for */
    double ref;
    size_t n_stretches;
    int beaten; /* another logit is greater than the label's, or as great and before it */
} row_sums;

/* A group of a row's elements for which the row itself will not do. */
typedef struct {
    _Alignas(64) char bytes[STEP * sizeof(float)];
} group;

/* The n elements from the i-th on, and -inf after them. */
LF_INLINE group group_of(lf_float type, const void *x, size_t i, size_t n) {
    group g;
    for (size_t k = 0; k < STEP; k += LANES)
        v_store_part(type, g.bytes, k, v_load_part(type, x, i + k, n > k ? n - k : 0, -INFINITY), LANES);
    return g;
}

/* The first n elements of a group to the i-th and those that follow. */
LF_INLINE void put_group(lf_float type, void *out, size_t i, const group *g, size_t n) {
    for (size_t k = 0; k < n; k += LANES) v_store_part(type, out, i + k, v_load(type, g->bytes, k), n - k);
}

/* Into the second cache, which can wait for more lines at a time than the first; into the first where work and not memory
 * limits, so that nothing waits for the second. The address is a number, for it may lie past the end of what x points into. */
LF_INLINE void prefetch(lf_float type, const void *x, size_t i, int keeps) {
    const size_t size = lf_float_size(type);
    const uintptr_t at = (uintptr_t)x + i * size + BYTES_AHEAD / 4 * size;
    for (size_t k = 0; k < STEP * size; k += 64) {
        if (type == LF_F32 || keeps) __builtin_prefetch((const void *)(at + k), 0, 2);
        else __builtin_prefetch((const void *)(at + k), 0, 3);
    }
}

/* The largest of [a, b); -inf of none. */
LF_INLINE float top_of(lf_float type, const void *x, size_t a, size_t b) {
    v_tops tops = v_no_tops(type);
    size_t i = a;
    for (; i + STEP <= b; i += STEP) v_raise(type, &tops, x, i);
    if (i < b || a == b) {
        group last = group_of(type, x, i, b - i);
        v_raise(type, &tops, last.bytes, 0);
    }
    return v_highest(type, &tops);
}

/* What is summed over a block, lane by lane. */
typedef struct {
    vf e[4], d[2];
} lane_sums;

/* From where the exponents of a block are measured: d = scale * x - ref. `shifts` says that this can be left to v_exp_from,
 * since scale is 1, ref is what v_origin_near makes of it, and d itself is not wanted. */
typedef struct {
    float scale;
    double ref;
    int shifts;
} measure;

/* No larger reference is shifted: 32nds of ln 2 are counted with 22 bits. */
static const double FAR = 16384.0;

/* Adds e^d of the groups from a to b to the sums, and d itself if `need_d`. e^d is kept in e if that is not NULL. *next_top
 * is the largest of as many elements from a + ahead on, if `ahead` is not 0. */
LF_INLINE void sweep(lf_float type, const void *x, size_t a, size_t b, measure by, float *e, int need_d,
                     lane_sums *sums, size_t ahead, float *next_top) {
    const vf factor = v_all(by.scale), minus_ref = v_all((float)-by.ref);
    const v_origin from = v_origin_at(by.shifts ? by.ref : 0.0);
    v_tops tops = v_no_tops(type);
    for (size_t i = a; i < b; i += STEP) {
        prefetch(type, x, i, e != NULL);
        vf d[4];
        v_load4(type, x, i, d);
        if (ahead) v_raise(type, &tops, x, i + ahead);
        for (size_t k = 0; k < 4; k++) {
            if (!by.shifts) d[k] = v_fma(d[k], factor, minus_ref);
            if (need_d) sums->d[k & 1] = v_add(sums->d[k & 1], d[k]);
        }
        if (!e) {
            for (size_t k = 0; k < 4; k++) sums->e[k] = v_add_exp(sums->e[k], d[k], from);
            continue;
        }
        for (size_t k = 0; k < 4; k++) d[k] = v_exp_from(d[k], from);
        v_store4(LF_F32, e, i, d);
        for (size_t k = 0; k < 4; k++) sums->e[k] = v_add(sums->e[k], d[k]);
    }
    if (ahead) *next_top = v_highest(type, &tops);
}

/* The same for a block that is not whole groups, or has the label, which is left out. *rest are the d that were not taken by
 * groups. */
LF_INLINE void sweep_ragged(lf_float type, const void *x, size_t a, size_t b, size_t label, measure by, float *e,
                            int need_d, lane_sums *sums, double *rest) {
    const size_t end = a + (b - a) / STEP * STEP, label_at = label < b ? a + (label - a) / STEP * STEP : b;
    float ignore;
    for (size_t i = a, cut; i < b; i = cut + STEP) {
        cut = label_at >= i && label_at < end ? label_at : end;
        sweep(type, x, i, cut, by, e, need_d, sums, 0, &ignore);
        if (cut == b) break;
        const size_t n = STEP < b - cut ? STEP : b - cut;
        group part = group_of(type, x, cut, n), kept;
        if (cut == label_at) lf_float_put(type, part.bytes, label - cut, -INFINITY);
        if (need_d)
            for (size_t k = 0; k < n; k++)
                if (cut + k != label) *rest += by.scale * lf_float_get(type, x, cut + k) - by.ref;
        sweep(type, part.bytes, 0, STEP, by, e ? (float *)kept.bytes : NULL, 0, sums, 0, &ignore);
        if (e) put_group(LF_F32, e, cut, &kept, type == LF_F32 ? n : STEP);
    }
}

/* The same for a block of a row of n, which ends at b; `label` is n for none. Returns whether *next_top was found, which
 * needs another whole block. */
LF_INLINE int sweep_block(lf_float type, const void *x, size_t a, size_t b, size_t n, size_t label, measure by,
                          float *e, int need_d, lane_sums *sums, double *rest, float *next_top) {
    const int ahead = label == n && b + BLOCK <= n;
    if (ahead) sweep(type, x, a, b, by, e, need_d, sums, BLOCK, next_top);
    else sweep_ragged(type, x, a, b, label, by, e, need_d, sums, rest);
    return ahead;
}

/* The sums of a row. `label` is left out of `others` and of sum_z, which is 0 unless `need_z`; n for none. Where e is not
 * NULL the exponentials are kept there, group by group in the order of v_load4. Of float32 that is the order of the row,
 * and e may be the row itself; else it has room for STEP more. `stretches` has room for n / BLOCK + 2. */
LF_INLINE row_sums sum_row(lf_float type, const void *x, size_t n, float scale, size_t label, float *e, int need_z,
                           int may_shift, stretch *stretches) {
    const float own = label < n ? (float)lf_float_get(type, x, label) : 0.0f;
    row_sums s = {0.0, 0.0, 0.0, 0, 0};
    float top = 0.0f;
    int top_known = 0;
    measure by = {scale, 0.0, 0};
    for (size_t a = 0, b; a < n; a = b) {
        b = n - a > BLOCK ? a + BLOCK : n;
        const int has_label = label >= a && label < b;
        if (has_label) {
            float before = top_of(type, x, a, label), after = top_of(type, x, label + 1, b);
            s.beaten |= before >= own || after > own;
            top = before > after ? before : after;
            top = own > top ? own : top;
        } else {
            if (!top_known) top = top_of(type, x, a, b);
            s.beaten |= label >= b ? top >= own : top > own;
        }
        float z = top * scale;
        if (s.n_stretches == 0 || z > s.ref + SLACK) {
            double ref = z < -FLT_MAX ? -FLT_MAX : z; /* -inf - -inf would be no number */
            by.shifts = SHIFTS && may_shift && scale == 1.0f && fabs(ref) < FAR;
            if (by.shifts) ref = v_origin_near(ref);
            if (s.n_stretches) s.others *= exp(s.ref - ref);
            s.ref = by.ref = ref;
            if (s.n_stretches == 0 || e) stretches[s.n_stretches++] = (stretch){a, ref};
        }
        lane_sums sums = {{v_all(0.0f), v_all(0.0f), v_all(0.0f), v_all(0.0f)}, {v_all(0.0f), v_all(0.0f)}};
        double rest = 0.0;
        const size_t label_here = has_label ? label : n;
        if (SHIFTS && may_shift && by.shifts) {
            measure from_near = {1.0f, by.ref, 1};
            top_known = sweep_block(type, x, a, b, n, label_here, from_near, e, need_z, &sums, &rest, &top);
        } else {
            measure from_far = {scale, by.ref, 0};
            top_known = sweep_block(type, x, a, b, n, label_here, from_far, e, need_z, &sums, &rest, &top);
        }
        s.others += v_sum(v_add(v_add(sums.e[0], sums.e[1]), v_add(sums.e[2], sums.e[3])));
        if (need_z) {
            s.sum_z += rest + v_sum(v_add(sums.d[0], sums.d[1]));
            s.sum_z += s.ref * (double)(b - a - (size_t)has_label);
        }
    }
    return s;
}

/* out = e * factor + plus over [a, b), where a is the beginning of a group and b another or the end of the row. */
LF_INLINE void finish_in_cache(lf_float type, void *out, const float *e, size_t a, size_t b, float factor, float plus) {
    const vf f = v_all(factor), p = v_all(plus);
    const size_t size = lf_float_size(type);
    for (size_t i = a; i < b; i += STEP) {
        const int cut = b - i < STEP;
        group last;
        if (cut) last = group_of(LF_F32, e, i, type == LF_F32 ? b - i : STEP);
        vf g[4];
        v_load4(LF_F32, cut ? (const float *)last.bytes : e + i, 0, g);
        for (size_t k = 0; k < 4; k++) g[k] = v_fma(g[k], f, p);
        v_store4(type, cut ? last.bytes : (char *)out + (i - a) * size, 0, g);
        if (cut) put_group(type, out, i - a, &last, b - i);
    }
}

/* Written past the caches, but for the lines at both ends. v_fence must follow the last. */
LF_INLINE void copy_past_cache(char *to, const char *from, size_t n_bytes) {
    size_t head = (64 - ((uintptr_t)to & 63)) & 63, i = head < n_bytes ? head : n_bytes;
    memcpy(to, from, i);
    for (; i + 64 <= n_bytes; i += 64) v_stream_line(to + i, from + i);
    memcpy(to + i, from + i, n_bytes - i);
}

/* The n elements of `out` from a on are those of e, multiplied by `factor`, and `plus`. */
LF_INLINE void finish(lf_float type, void *out, const float *e, size_t a, size_t b, float factor, float plus,
                      int past_cache) {
    const size_t size = lf_float_size(type);
    if (!past_cache) {
        finish_in_cache(type, (char *)out + a * size, e, a, b, factor, plus);
        return;
    }
    _Alignas(64) char block[4 * BLOCK * sizeof(float)];
    for (size_t i = a, end; i < b; i = end) {
        end = b - i > 4 * BLOCK ? i + 4 * BLOCK : b;
        finish_in_cache(type, block, e, i, end, factor, plus);
        copy_past_cache((char *)out + i * size, block, (end - i) * size);
    }
}

#endif
