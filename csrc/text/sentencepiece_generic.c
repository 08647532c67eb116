#define LF_ISA generic
#include "text/sentencepiece_body.h"
