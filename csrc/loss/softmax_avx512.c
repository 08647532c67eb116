/* The AVX-512 rows of softmax; see softmax.h. */
#define LF_ISA avx512
#define LF_ISA_ID LF_AVX512
#include "loss/lanes_avx512.h"

#include "loss/softmax_body.h"
