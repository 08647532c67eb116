/* softmax_body.h - the rows of softmax.h, compiled once for each instruction set. */
#include "loss/exp_row.h"
#include "loss/softmax.h"

/* out = (x + first) + plus, or y * (g + plus), or g + e^y * plus: the second sweep of a row, in place or not. */
enum way { SHIFT, SOFTMAX_BACK, LOG_BACK };

LF_INLINE vf combine(enum way way, vf x, vf g, vf first, vf plus) {
    if (way == SHIFT) return v_add(v_add(x, first), plus);
    if (way == SOFTMAX_BACK) return v_mul(x, v_add(g, plus));
    return v_fma(v_exp(x), plus, g);
}

LF_INLINE void second_sweep(enum way way, lf_float type, const void *x, const void *g, void *out, size_t n, float first,
                            float plus) {
    const vf f = v_all(first), p = v_all(plus), zero = v_all(0.0f);
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        vf y[4], other[4] = {zero, zero, zero, zero};
        v_load4(type, x, i, y);
        if (way != SHIFT) v_load4(type, g, i, other);
        for (size_t k = 0; k < 4; k++) y[k] = combine(way, y[k], other[k], f, p);
        v_store4(type, out, i, y);
    }
    for (; i < n; i += LANES) {
        vf other = way == SHIFT ? zero : v_load_part(type, g, i, n - i, 0.0f);
        v_store_part(type, out, i, combine(way, v_load_part(type, x, i, n - i, 0.0f), other, f, p), n - i);
    }
}

/* sum(g * y), or sum(g) if y is NULL: floats within a block, doubles between. */
LF_INLINE double dot(lf_float type, const void *g, const void *y, size_t n) {
    const vf one = v_all(1.0f);
    double total = 0.0;
    for (size_t a = 0; a < n; a += BLOCK) {
        size_t b = n - a > BLOCK ? a + BLOCK : n, i = a;
        vf sum[4] = {v_all(0.0f), v_all(0.0f), v_all(0.0f), v_all(0.0f)};
        for (; i + STEP <= b; i += STEP) {
            vf u[4], w[4] = {one, one, one, one};
            v_load4(type, g, i, u);
            if (y) v_load4(type, y, i, w);
            for (size_t k = 0; k < 4; k++) sum[k] = v_fma(u[k], w[k], sum[k]);
        }
        for (; i < b; i += LANES) {
            vf other = y ? v_load_part(type, y, i, b - i, 0.0f) : one;
            sum[0] = v_fma(v_load_part(type, g, i, b - i, 0.0f), other, sum[0]);
        }
        total += v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
    }
    return total;
}

LF_INLINE void fill(lf_float type, void *out, size_t n, float value) {
    for (size_t i = 0; i < n; i += LANES) v_store_part(type, out, i, v_all(value), n - i);
}

LF_INLINE void forward(const lf_softmax *job, lf_float type, const void *x, void *out, float *kept,
                       stretch *stretches) {
    const size_t n = job->n_classes;
    if (job->log) {
        row_sums s = sum_row(type, x, n, 1.0f, n, NULL, 0, 0, 0, stretches);
        double log_sum = log(s.others);
        if (!(s.others > 0.0)) {
            fill(type, out, n, NAN);
            return;
        }
        /* In two parts: x - lse is exact where a probability is near 1, and there the second part is what matters. */
        const double lse = s.ref + log_sum;
        const float high = (float)lse;
        second_sweep(SHIFT, type, x, NULL, out, n, -high, (float)(high - lse));
        return;
    }
    float *e = type == LF_F32 ? (float *)out : kept;
    row_sums s = sum_row(type, x, n, 1.0f, n, e, 0, 0, 0, stretches);
    if (!(s.others > 0.0)) {
        fill(type, out, n, NAN);
        return;
    }
    for (size_t k = 0; k < s.n_stretches; k++) {
        size_t b = k + 1 < s.n_stretches ? stretches[k + 1].from : n;
        double factor = exp(stretches[k].ref - s.ref) / s.others;
        finish(type, out, e, stretches[k].from, b, (float)factor, 0.0f, 0);
    }
}

LF_INLINE void row_float(const lf_softmax *job, lf_float type, size_t row, float *kept, stretch *stretches) {
    const void *x = lf_row(type, job->x, job->x_stride, row);
    void *out = (void *)lf_row(type, job->out, job->out_stride, row);
    if (!job->g) {
        forward(job, type, x, out, kept, stretches);
        return;
    }
    const void *g = lf_row(type, job->g, job->g_stride, row);
    const double sum = dot(type, g, job->log ? NULL : x, job->n_classes);
    if (job->log) second_sweep(LOG_BACK, type, x, g, out, job->n_classes, 0.0f, (float)-sum);
    else second_sweep(SOFTMAX_BACK, type, x, g, out, job->n_classes, 0.0f, (float)-sum);
}

static void row_f64(const lf_softmax *job, size_t row) {
    const double *x = lf_row(LF_F64, job->x, job->x_stride, row);
    double *out = (void *)lf_row(LF_F64, job->out, job->out_stride, row), sum = 0.0, top = -INFINITY;
    const size_t n = job->n_classes;
    if (job->g) {
        const double *g = lf_row(LF_F64, job->g, job->g_stride, row);
        for (size_t i = 0; i < n; i++) sum += job->log ? g[i] : g[i] * x[i];
        for (size_t i = 0; i < n; i++) out[i] = job->log ? g[i] - exp(x[i]) * sum : x[i] * (g[i] - sum);
        return;
    }
    for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - top);
    const double log_sum = log(sum);
    for (size_t i = 0; i < n; i++) out[i] = job->log ? x[i] - top - log_sum : exp(x[i] - top) / sum;
}

static lf_status rows(const void *data, size_t from, size_t to, void *scratch, size_t *where) {
    const lf_softmax *job = data;
    (void)where;
    float *kept = scratch;
    stretch *stretches = (stretch *)(kept + (job->n_classes + 63) / 16 * 16 + 64);
    for (size_t row = from; row < to; row++) {
        switch (job->dtype) {
        case LF_F32: row_float(job, LF_F32, row, kept, stretches); break;
        case LF_BF16: row_float(job, LF_BF16, row, kept, stretches); break;
        case LF_F16: row_float(job, LF_F16, row, kept, stretches); break;
        default: row_f64(job, row);
        }
    }
    return LF_OK;
}

#define LF_NAME_(isa) lf_softmax_##isa
#define LF_NAME(isa) LF_NAME_(isa)
const lf_softmax_ops LF_NAME(LF_ISA) = {LF_ISA_ID, rows};
