/* The AVX-512 encoder; see encode.h. */
#define LF_ISA avx512
#define LF_ISA_ID LF_AVX512
#include "text/encode_body.h"
