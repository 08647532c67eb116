/* encode.c - which encoder an instruction set has; see encode.h. */
#include "text/encode.h"

extern const lf_text_ops lf_text_generic;
#if defined(__x86_64__)
extern const lf_text_ops lf_text_avx2, lf_text_avx512;
#endif

const lf_text_ops *lf_text_ops_for(lf_isa isa) {
    switch (isa) {
    case LF_GENERIC: return &lf_text_generic;
#if defined(__x86_64__)
    case LF_AVX2: return &lf_text_avx2;
    case LF_AVX512: return &lf_text_avx512;
#endif
    default: return NULL;
    }
}
