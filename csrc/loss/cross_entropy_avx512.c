/* The AVX-512 rows of cross-entropy; see cross_entropy.h. */
#define LF_ISA avx512
#define LF_ISA_ID LF_AVX512
#include "loss/lanes_avx512.h"

#include "loss/cross_entropy_body.h"
