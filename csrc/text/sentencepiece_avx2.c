/* The AVX2 encoder of sentencepiece models; see sentencepiece.h. */
#define LF_ISA avx2
#include "text/sentencepiece_body.h"
