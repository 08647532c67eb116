/* row_double.h - one row of cross_entropy.h in double precision, all formats and options: the only way for float64, and
 * for combinations of options that have no faster one. Three sweeps of plain C. */
#ifndef LF_LOSS_ROW_DOUBLE_H
#define LF_LOSS_ROW_DOUBLE_H

#include <float.h>
#include <math.h>

#include "loss/cross_entropy.h"

/* What a row's target asks: kind of row, and its label. */
typedef struct {
    enum { LF_ROW_LABEL, LF_ROW_SOFT, LF_ROW_IGNORED, LF_ROW_POISONED, LF_ROW_RAISES } kind;
    size_t label;
} lf_row_target;

static inline lf_row_target lf_row_target_of(const lf_cross_entropy *job, size_t row) {
    if (!job->target) return (lf_row_target){LF_ROW_SOFT, 0};
    int64_t label = job->target[row];
    if (label == job->ignore_index) return (lf_row_target){LF_ROW_IGNORED, 0};
    if (label >= 0 && (uint64_t)label < job->n_classes) return (lf_row_target){LF_ROW_LABEL, (size_t)label};
    switch (job->on_bad_label) {
    case LF_LABEL_NAN: return (lf_row_target){LF_ROW_POISONED, 0};
    case LF_LABEL_IGNORE: return (lf_row_target){LF_ROW_IGNORED, 0};
    default: return (lf_row_target){LF_ROW_RAISES, 0};
    }
}

static inline double lf_row_weight(const lf_cross_entropy *job, size_t c) {
    return job->weight ? lf_float_get(job->dtype == LF_F64 ? LF_F64 : LF_F32, job->weight, c) : 1.0;
}

/* z of a logit. */
static inline double lf_row_z(const lf_cross_entropy *job, double x) {
    if (job->softcap > 0.0) x = job->softcap * tanh(x / job->softcap);
    return job->logit_scale * x;
}

/* dz / dx of a logit. */
static inline double lf_row_dz(const lf_cross_entropy *job, double x) {
    if (!(job->softcap > 0.0)) return job->logit_scale;
    double t = tanh(x / job->softcap);
    return job->logit_scale * (1.0 - t * t);
}

/* log(sum) - d, where the sum is exp(d) and `others`: keeps its digits where the others are few. */
static inline double lf_row_nll(double others, double d) {
    double own = exp(d);
    return d > -30.0 ? log1p(others / own) : log(others + own) - d;
}

static inline void lf_row_double(const lf_cross_entropy *job, size_t row, lf_row_target target) {
    const lf_float type = job->dtype;
    const size_t n = job->n_classes;
    const void *x = lf_row(type, job->logits, job->logits_stride, row);
    const void *q = job->soft ? lf_row(type, job->soft, job->soft_stride, row) : NULL;
    const double smoothing = job->label_smoothing, share = smoothing / (double)n;
    const int hard = target.kind == LF_ROW_LABEL, ignored = target.kind == LF_ROW_IGNORED;

    double top = -INFINITY;
    size_t top_at = 0;
    for (size_t c = 0; c < n; c++) {
        double z = lf_row_z(job, lf_float_get(type, x, c));
        if (z > top) top = z, top_at = c;
    }
    if (top == -INFINITY) top = -1.7976931348623157e308; /* -inf - -inf would be no number */

    /* Sums of the exponentials but the label's, of exp(d) * d, and of what the target asks of d = z - top. */
    double others = 0.0, sum_ed = 0.0, wanted = 0.0, wanted_weight = 0.0;
    for (size_t c = 0; c < n; c++) {
        double d = lf_row_z(job, lf_float_get(type, x, c)) - top, e = exp(d);
        if (!hard || c != target.label) others += e;
        if (e > 0.0) sum_ed += e * d;
        if (ignored || (hard && smoothing == 0.0)) continue;
        double want = (q ? (1.0 - smoothing) * lf_float_get(type, q, c) + share : share) * lf_row_weight(job, c);
        if (want != 0.0) wanted += want * d, wanted_weight += want;
    }
    const double own_d = hard ? lf_row_z(job, lf_float_get(type, x, target.label)) - top : 0.0;
    const double own = hard ? exp(own_d) : 0.0, sum = others + own, log_sum = log(sum), lse = top + log_sum;
    const double nll = hard ? lf_row_nll(others, own_d) : 0.0;
    const double label_weight = hard ? lf_row_weight(job, target.label) * (1.0 - smoothing) : 0.0;
    const double entropy = log_sum - sum_ed / sum;

    double loss = job->z_loss * lse * lse;
    if (job->z_loss == 0.0) loss = 0.0;
    if (label_weight != 0.0) loss += label_weight * nll;
    if (wanted_weight != 0.0 || wanted != 0.0) loss += wanted_weight * log_sum - wanted;
    if (sum != sum) loss = sum;
    if (ignored) loss = 0.0;
    if (target.kind == LF_ROW_POISONED) loss = NAN;
    if (job->loss) job->loss[row] = loss;
    if (job->lse) job->lse[row] = lse;
    if (job->logprob) job->logprob[row] = hard ? -nll : target.kind == LF_ROW_POISONED ? NAN : 0.0;
    if (job->entropy) job->entropy[row] = entropy;
    if (job->correct) job->correct[row] = hard && top_at == target.label && sum == sum;
    if (!job->gradient) return;

    const double scale = ignored ? 0.0 : job->scale * (job->row_scale ? job->row_scale[row] : 1.0);
    const double d_lse = job->d_lse ? job->d_lse[row] : 0.0, d_entropy = job->d_entropy ? job->d_entropy[row] : 0.0;
    const double d_logprob = hard && job->d_logprob ? job->d_logprob[row] : 0.0;
    const double push = scale * label_weight - d_logprob; /* towards the label alone */
    double pull = push + scale * wanted_weight + d_lse;
    if (job->z_loss != 0.0 && scale != 0.0) pull += 2.0 * scale * job->z_loss * lse;
    void *gradient = (char *)job->gradient + (int64_t)row * job->gradient_stride * (int64_t)lf_float_size(type);
    const int zero = pull == 0.0 && push == 0.0 && d_entropy == 0.0 && scale == 0.0;
    for (size_t c = 0; c < n; c++) {
        double logit = lf_float_get(type, x, c), d = lf_row_z(job, logit) - top, p = exp(d) / sum, g = pull * p;
        /* pull * p - push, of which nothing cancels as p -> 1 */
        if (hard && c == target.label) g = (pull - push) * p - push * (others / sum);
        if (!ignored && !(hard && smoothing == 0.0) && scale != 0.0)
            g -= scale * (q ? (1.0 - smoothing) * lf_float_get(type, q, c) + share : share) * lf_row_weight(job, c);
        if (d_entropy != 0.0 && p > 0.0) g -= d_entropy * p * (d - log_sum + entropy);
        g *= lf_row_dz(job, logit);
        if (target.kind == LF_ROW_POISONED) g = NAN;
        lf_float_put(type, gradient, c, zero ? 0.0 : g);
    }
}

#endif
