/* softmax.c - scratch and dispatch; see softmax.h. */
#include "loss/softmax.h"

extern const lf_softmax_ops lf_softmax_generic;
#if defined(__x86_64__)
extern const lf_softmax_ops lf_softmax_avx2, lf_softmax_avx512;
#endif

const lf_softmax_ops *lf_softmax_ops_for(lf_isa isa) {
    switch (isa) {
    case LF_GENERIC: return &lf_softmax_generic;
#if defined(__x86_64__)
    case LF_AVX2: return &lf_softmax_avx2;
    case LF_AVX512: return &lf_softmax_avx512;
#endif
    default: return NULL;
    }
}

size_t lf_softmax_scratch(const lf_softmax *job) {
    size_t line = 64, floats = (job->n_classes + 256) * sizeof(float), stretches = (job->n_classes / 1024 + 8) * 16;
    return (floats + stretches + line - 1) / line * line;
}
