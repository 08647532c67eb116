/* The AVX2 encoder; see encode.h. */
#define LF_ISA avx2
#define LF_ISA_ID LF_AVX2
#include "text/encode_body.h"
