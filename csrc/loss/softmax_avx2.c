/* The AVX2 rows of softmax; see softmax.h. */
#define LF_ISA avx2
#define LF_ISA_ID LF_AVX2
#include "loss/lanes_avx2.h"

#include "loss/softmax_body.h"
