/* piece_kinds.h - what a piece of a sentencepiece model is; the numbers are those of its file format. */
#ifndef LF_TEXT_PIECE_KINDS_H
#define LF_TEXT_PIECE_KINDS_H

enum { LF_NO_PIECE = 0, LF_NORMAL, LF_UNKNOWN, LF_CONTROL, LF_USER_DEFINED, LF_UNUSED, LF_BYTE };

#endif
