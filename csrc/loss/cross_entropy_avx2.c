/* The AVX2 rows of cross-entropy; see cross_entropy.h. */
#define LF_ISA avx2
#define LF_ISA_ID LF_AVX2
#include "loss/lanes_avx2.h"

#include "loss/cross_entropy_body.h"
