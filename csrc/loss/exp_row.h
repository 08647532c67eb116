/* exp_row.h - the sum of e^z over a row that is read once, and a second sweep over what was kept of it.
 *
 * Exponentials are taken of d = z - ref, where the reference need not be the largest logit: it is the largest of the first
 * block and the label's, and stays that until a sum grows beyond LIMIT. Then the sweep stops; the reference is raised, what is
 * summed so far is scaled down, and the sweep goes on from there. So nearly every row has one reference, each element is
 * raised to e once, and nothing is asked of an element but its exponential: neither whether it is the largest so far, nor
 * whether it is -inf, of which a sum is NaN, so that the sweep stops, too, and goes on with care.
 *
 *     for the gradient, exp(d) is kept - over the logits, in the gradient's place or in scratch - with the stretches
 *     |  block 0  |  block 1  |  block 2  |  block 3  | ...      of the row that have one reference:
 *     | from 0: ref = 3.1                | from 3: ref = 21.7    a second sweep of the row, which lies in the second cache
 *                                                                by now, multiplies each stretch by its factor
 *
 * Where exponentials are kept, they may be kept over the logits: a sweep stops before the group of elements that it cannot
 * take. Elsewhere it goes on to the end of the block, which is then taken once more.
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

enum { BLOCK = 1024, SLACK = 8, STEP = 4 * LANES };

/* How far ahead a row is brought near: over the end of the page, at which the processor's own prefetching stops, and as
 * far as it takes to find where the next page lies; from there into the first cache. Halves are read at half the speed, and
 * half as far ahead. */
enum { BYTES_AHEAD = 10240, BYTES_NEAR = 4096 };

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

/* Into the second cache, which can wait for more lines at a time than the first, and later into the first; at once where work
 * and not memory limits. The address is a number, for it may lie past the end of what x points into. */
LF_INLINE void prefetch(lf_float type, const void *x, size_t i, int keeps) {
    const size_t size = lf_float_size(type);
    const uintptr_t here = (uintptr_t)x + i * size, at = here + BYTES_AHEAD / 4 * size;
    for (size_t k = 0; k < STEP * size; k += 64) {
        if (type != LF_F32 && !keeps) {
            __builtin_prefetch((const void *)(at + k), 0, 3);
            continue;
        }
        __builtin_prefetch((const void *)(here + BYTES_NEAR / 4 * size + k), 0, 3);
        __builtin_prefetch((const void *)(at + k), 0, 2);
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

/* From where the exponents of a block are measured: d = scale * x - ref. `shifts` says that this can be left to the
 * exponential, since scale is 1, ref is what v_origin_near makes of it, and d itself is not wanted. `careful` says that there
 * may be -inf, and that whatever the sums become they are right. */
typedef struct {
    float scale;
    double ref;
    int shifts, careful;
} measure;

/* e^16. Below it d is less than 16, and z - ref loses no more than half a unit of that. A block of which no logit lies more
 * than SLACK above the reference has a sum below it. */
static const float LIMIT = 8.8e6f;

/* Adds e^d of the groups from a to b to the sums, and d itself if `need_d`; e^d is kept in e if that is not NULL. Answers b, or
 * the group at which it stopped: of those that are kept none has a sum that is NaN or beyond LIMIT, unless `careful`. */
LF_INLINE size_t sweep(lf_float type, const void *x, size_t a, size_t b, measure by, float *e, int need_d,
                       lane_sums *sums) {
    const vf factor = v_all(by.scale), minus_ref = v_all((float)-by.ref);
    const v_origin from = v_origin_at(by.shifts ? by.ref : 0.0);
    for (size_t i = a; i < b; i += STEP) {
        prefetch(type, x, i, e != NULL);
        vf z[4], d[4];
        v_load4(type, x, i, z);
        for (size_t k = 0; k < 4; k++) d[k] = by.shifts ? z[k] : v_fma(z[k], factor, minus_ref);
        if (!e) {
            for (size_t k = 0; k < 4; k++)
                sums->e[k] = v_add_exp(sums->e[k], by.careful ? v_no_abyss(d[k]) : d[k], from);
        } else {
            vf kept[4];
            for (size_t k = 0; k < 4; k++) kept[k] = v_exp_from(by.careful ? v_no_abyss(d[k]) : d[k], from);
            vf all = v_add(v_add(kept[0], kept[1]), v_add(kept[2], kept[3]));
            if (!by.careful && LF_UNLIKELY(!v_below(all, LIMIT))) return i;
            sums->e[0] = v_add(sums->e[0], all);
            v_store4(LF_F32, e, i, kept);
        }
        if (need_d)
            for (size_t k = 0; k < 4; k++) sums->d[k & 1] = v_add(sums->d[k & 1], d[k]);
    }
    return b;
}

/* The same for elements that need not be whole groups, or have the label, which is left out. *rest are the d that were not
 * taken by groups. */
LF_INLINE size_t sweep_ragged(lf_float type, const void *x, size_t a, size_t b, size_t label, measure by, float *e,
                              int need_d, lane_sums *sums, double *rest) {
    const size_t end = a + (b - a) / STEP * STEP;
    const size_t label_at = label >= a && label < b ? a + (label - a) / STEP * STEP : b;
    measure with_care = by;
    with_care.careful = 1;
    for (size_t i = a, cut; i < b; i = cut + STEP) {
        cut = label_at >= i && label_at < end ? label_at : end;
        size_t stop = sweep(type, x, i, cut, by, e, need_d, sums);
        if (stop < cut || cut == b) return stop;
        const size_t n = STEP < b - cut ? STEP : b - cut;
        group part = group_of(type, x, cut, n), kept;
        if (cut == label_at) lf_float_put(type, part.bytes, label - cut, -INFINITY);
        lane_sums of_part = {{v_all(0.0f), v_all(0.0f), v_all(0.0f), v_all(0.0f)}, {v_all(0.0f), v_all(0.0f)}};
        sweep(type, part.bytes, 0, STEP, with_care, e ? (float *)kept.bytes : NULL, 0, &of_part);
        if (e && !by.careful && !v_below(of_part.e[0], LIMIT)) return cut;
        for (size_t k = 0; k < 4; k++) sums->e[k] = v_add(sums->e[k], of_part.e[k]);
        if (need_d)
            for (size_t k = 0; k < n; k++)
                if (cut + k != label) *rest += by.scale * lf_float_get(type, x, cut + k) - by.ref;
        if (e) put_group(LF_F32, e, cut, &kept, type == LF_F32 ? n : STEP);
    }
    return b;
}

/* Whether a logit of [a, b) is greater than the label's, or as great and before it. */
LF_INLINE int beats(lf_float type, const void *x, size_t a, size_t b, size_t label, float own) {
    const size_t cut = label < a ? a : label < b ? label : b;
    return (cut > a && top_of(type, x, a, cut) >= own) || (cut < b && top_of(type, x, cut, b) > own);
}

/* The sums of a row. `label` is left out of `others` and of sum_z, which is 0 unless `need_z`; n for none. `beaten` is 0
 * unless `need_beaten`. Where e is not NULL the exponentials are kept there, group by group in the order of v_load4. Of
 * float32 that is the order of the row, and e may be the row itself; else it has room for STEP more. `stretches` has room
 * for n / BLOCK + 2. */
LF_INLINE row_sums sum_row(lf_float type, const void *x, size_t n, float scale, size_t label, float *e, int need_z,
                           int may_shift, int need_beaten, stretch *stretches) {
    const float own = label < n ? (float)lf_float_get(type, x, label) : -INFINITY;
    const size_t first = n < BLOCK ? n : BLOCK;
    row_sums s = {0.0, 0.0, 0.0, 0, 0};
    measure by = {scale, 0.0, 0, 0};
    float top = top_of(type, x, 0, first) * scale;
    top = own * scale > top ? own * scale : top;
    int raise = 1;
    for (size_t a = 0, b = 0, stop; a < n; a = stop) {
        if (raise) {
            double ref = top < -FLT_MAX ? -FLT_MAX : top; /* -inf - -inf would be no number */
            by.shifts = SHIFTS && may_shift && scale == 1.0f && fabs(ref) < FAR;
            if (by.shifts) ref = v_origin_near(ref);
            if (s.n_stretches) s.others *= exp(s.ref - ref);
            s.ref = by.ref = ref;
            if (s.n_stretches == 0 || e) stretches[s.n_stretches++] = (stretch){a, ref};
            raise = 0;
        }
        if (a == b) {
            b = n - a > BLOCK ? a + BLOCK : n;
            by.careful = 0;
            if (need_beaten && !s.beaten) s.beaten = beats(type, x, a, b, label, own);
        }
        lane_sums sums = {{v_all(0.0f), v_all(0.0f), v_all(0.0f), v_all(0.0f)}, {v_all(0.0f), v_all(0.0f)}};
        double rest = 0.0;
        const int ragged = by.careful || b - a < BLOCK || (label >= a && label < b);
        if (SHIFTS && may_shift && by.shifts) {
            measure near = {1.0f, by.ref, 1, 0}, near_with_care = {1.0f, by.ref, 1, 1};
            if (!ragged) stop = sweep(type, x, a, b, near, e, need_z, &sums);
            else stop = sweep_ragged(type, x, a, b, label, by.careful ? near_with_care : near, e, need_z, &sums, &rest);
        } else {
            measure far = {scale, by.ref, 0, by.careful};
            stop = sweep_ragged(type, x, a, b, label, far, e, need_z, &sums, &rest);
        }
        const float sum = v_sum(v_add(v_add(sums.e[0], sums.e[1]), v_add(sums.e[2], sums.e[3])));
        if (!e && !by.careful && LF_UNLIKELY(!(sum < LIMIT))) stop = a;
        if (stop > a) {
            s.others += sum;
            if (need_z) {
                s.sum_z += rest + v_sum(v_add(sums.d[0], sums.d[1]));
                s.sum_z += s.ref * (double)(stop - a - (size_t)(label >= a && label < stop));
            }
        }
        if (LF_LIKELY(stop == b)) continue;
        /* There is a logit far above the reference, or one that is -inf or no number. */
        top = top_of(type, x, stop, b) * scale;
        raise = top > s.ref + SLACK;
        by.careful = !raise;
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
