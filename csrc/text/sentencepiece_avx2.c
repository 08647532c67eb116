#define LF_ISA avx2
#include "text/sentencepiece_body.h"
