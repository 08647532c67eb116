#define LF_ISA avx512
#include "text/sentencepiece_body.h"
