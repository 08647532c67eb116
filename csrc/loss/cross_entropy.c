/* cross_entropy.c - what does not depend on the instruction set: labels, scratch, dispatch. See cross_entropy.h. */
#include "loss/cross_entropy.h"

extern const lf_cross_entropy_ops lf_cross_entropy_generic;
#if defined(__x86_64__)
extern const lf_cross_entropy_ops lf_cross_entropy_avx2, lf_cross_entropy_avx512;
#endif

const lf_cross_entropy_ops *lf_cross_entropy_ops_for(lf_isa isa) {
    switch (isa) {
    case LF_GENERIC: return &lf_cross_entropy_generic;
#if defined(__x86_64__)
    case LF_AVX2: return &lf_cross_entropy_avx2;
    case LF_AVX512: return &lf_cross_entropy_avx512;
#endif
    default: return NULL;
    }
}

lf_status lf_cross_entropy_labels(const lf_cross_entropy *job, size_t *n_valid, double *divisor, size_t *where) {
    const lf_float weights = job->dtype == LF_F64 ? LF_F64 : LF_F32;
    *n_valid = job->n_rows;
    *divisor = (double)job->n_rows;
    if (!job->target) return LF_OK;
    *n_valid = 0;
    *divisor = 0.0;
    for (size_t i = 0; i < job->n_rows; i++) {
        int64_t label = job->target[i];
        if (label == job->ignore_index) continue;
        if (label < 0 || (uint64_t)label >= job->n_classes) {
            if (job->on_bad_label == LF_LABEL_IGNORE) continue;
            *where = i;
            if (job->on_bad_label == LF_LABEL_RAISE) return LF_EINDEX;
            label = -1;
        }
        ++*n_valid;
        *divisor += job->weight && label >= 0 ? lf_float_get(weights, job->weight, (size_t)label) : 1.0;
    }
    return LF_OK;
}

size_t lf_cross_entropy_scratch(const lf_cross_entropy *job) {
    /* An exponential and a transformed logit for each class, and the stretches of exp_row.h: one a block of
     * 1024 classes, of 16 bytes each. */
    size_t line = 64, floats = (job->n_classes + 256) * sizeof(float);
    size_t stretches = (job->n_classes / 1024 + 8) * 16;
    return (2 * floats + stretches + line - 1) / line * line;
}
