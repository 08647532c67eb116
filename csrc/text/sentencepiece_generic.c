/* The portable encoder of sentencepiece models; see sentencepiece.h. */
#define LF_ISA generic
#include "text/sentencepiece_body.h"
