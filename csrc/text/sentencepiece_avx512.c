/* The AVX-512 encoder of sentencepiece models; see sentencepiece.h. */
#define LF_ISA avx512
#include "text/sentencepiece_body.h"
