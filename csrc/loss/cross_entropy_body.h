/* cross_entropy_body.h - the rows of cross_entropy.h on vectors of floats, compiled once for each instruction set. */
#include "loss/exp_row.h"
#include "loss/row_double.h"

/* Rows without softcap, soft targets, weighted smoothing or entropy. */
LF_INLINE void row_float(const lf_cross_entropy *job, lf_float type, size_t row, lf_row_target target, float *kept,
                         stretch *stretches, int past_cache) {
    const size_t n = job->n_classes, size = lf_float_size(type);
    const void *x = lf_row(type, job->logits, job->logits_stride, row);
    void *gradient = job->gradient ? (char *)job->gradient + (int64_t)row * job->gradient_stride * (int64_t)size : NULL;
    const int hard = target.kind == LF_ROW_LABEL, smooth = job->label_smoothing != 0.0 && hard;
    const double d_lse = job->d_lse ? job->d_lse[row] : 0.0;
    const double d_logprob = hard && job->d_logprob ? job->d_logprob[row] : 0.0;
    const double scale = hard ? job->scale * (job->row_scale ? job->row_scale[row] : 1.0) : 0.0;
    const size_t label = hard ? target.label : n;
    const double own_z = hard ? job->logit_scale * lf_float_get(type, x, label) : -INFINITY;
    const int pulls = gradient && (scale != 0.0 || d_lse != 0.0 || d_logprob != 0.0) && target.kind != LF_ROW_POISONED;

    row_sums s = {0.0, 0.0, 0.0, 0, 0};
    float *e = !pulls ? NULL : type == LF_F32 && !past_cache ? gradient : kept;
    if (hard || job->lse || pulls) {
        const float logit_scale = (float)job->logit_scale;
        const int beaten = job->correct != NULL;
        if (e)
            s = smooth ? sum_row(type, x, n, logit_scale, label, e, 1, 0, beaten, stretches)
                       : sum_row(type, x, n, logit_scale, label, e, 0, 1, beaten, stretches);
        else
            s = smooth ? sum_row(type, x, n, logit_scale, label, NULL, 1, 0, beaten, stretches)
                       : sum_row(type, x, n, logit_scale, label, NULL, 0, 1, beaten, stretches);
    }
    const double own_d = own_z - s.ref, sum = s.others + exp(own_d), log_sum = log(sum), lse = s.ref + log_sum;
    const double nll = hard ? lf_row_nll(s.others, own_d) : 0.0, weight = hard ? lf_row_weight(job, label) : 0.0;
    const double share = smooth ? job->label_smoothing / (double)n : 0.0;
    double loss = 0.0;
    if (hard) {
        loss = weight * (smooth ? 1.0 - job->label_smoothing : 1.0) * nll;
        if (smooth) loss += share * ((double)n * lse - s.sum_z - own_z);
        if (job->z_loss != 0.0) loss += job->z_loss * lse * lse;
        if (sum != sum) loss = sum;
    }
    if (target.kind == LF_ROW_POISONED) loss = NAN;
    if (job->loss) job->loss[row] = loss;
    if (job->lse) job->lse[row] = lse;
    if (job->logprob) job->logprob[row] = hard ? -nll : loss;
    if (job->correct) job->correct[row] = hard && !s.beaten && sum == sum;
    if (!gradient) return;

    if (!pulls || !(sum > 0.0)) {
        float fill = pulls || target.kind == LF_ROW_POISONED ? NAN : 0.0f;
        const vf line[4] = {v_all(fill), v_all(fill), v_all(fill), v_all(fill)};
        size_t i = 0;
        for (; i + STEP <= n; i += STEP) v_store4(type, gradient, i, line);
        for (; i < n; i += LANES) v_store_part(type, gradient, i, line[0], n - i);
        return;
    }
    const double push = scale * weight * (1.0 - job->label_smoothing) - d_logprob, dz = job->logit_scale;
    const double pull = push + scale * (job->label_smoothing + 2.0 * job->z_loss * lse) + d_lse;
    for (size_t k = 0; k < s.n_stretches; k++) {
        size_t b = k + 1 < s.n_stretches ? stretches[k + 1].from : n;
        double factor = dz * pull / sum * exp(stretches[k].ref - s.ref);
        finish(type, gradient, e, stretches[k].from, b, (float)factor, (float)(-dz * scale * share), past_cache);
    }
    if (hard) {
        double own = (pull - push) * (exp(own_d) / sum) - push * (s.others / sum) - scale * share;
        lf_float_put(type, gradient, label, dz * own);
    }
}

/* Whether row_float knows the job's options. */
static int is_plain(const lf_cross_entropy *job) {
    return job->target && job->dtype != LF_F64 && job->softcap == 0.0 && !job->entropy && !job->d_entropy &&
           !(job->weight && job->label_smoothing != 0.0);
}

/* Whether the gradient is written past the caches: where it is not over the logits, which are in them, and is too large
 * to be found there by who reads it next. Writing it does not read it then, which is a third of the traffic. */
static int goes_past_cache(const lf_cross_entropy *job) {
    const size_t large = 1 << 22;
    return job->gradient && job->gradient != job->logits && job->n_rows * job->n_classes >= large;
}

static lf_status rows(const void *data, size_t from, size_t to, void *scratch, size_t *where) {
    const lf_cross_entropy *job = data;
    const int plain = is_plain(job), past_cache = goes_past_cache(job);
    float *kept = scratch;
    stretch *stretches = (stretch *)(kept + (job->n_classes + 63) / 16 * 16 + 64);
    lf_status status = LF_OK;
    for (size_t row = from; row < to; row++) {
        lf_row_target target = lf_row_target_of(job, row);
        if (LF_UNLIKELY(target.kind == LF_ROW_RAISES)) {
            if (status == LF_OK) *where = row;
            status = LF_EINDEX;
        } else if (!plain) {
            lf_row_double(job, row, target);
        } else if (job->dtype == LF_F32) {
            row_float(job, LF_F32, row, target, kept, stretches, past_cache);
        } else if (job->dtype == LF_BF16) {
            row_float(job, LF_BF16, row, target, kept, stretches, past_cache);
        } else {
            row_float(job, LF_F16, row, target, kept, stretches, past_cache);
        }
    }
    if (past_cache) v_fence();
    return status;
}

#define LF_NAME_(isa) lf_cross_entropy_##isa
#define LF_NAME(isa) LF_NAME_(isa)
const lf_cross_entropy_ops LF_NAME(LF_ISA) = {LF_ISA_ID, rows};
