/* split.h - pre-tokenizers: where the next piece of a text ends.
 *
 * One hand-written automaton for each split pattern, equal to a backtracking regex engine on the pattern's text:
 *
 *     gpt2     '(?:[sdmt]|ll|ve|re) | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+$ | \s+(?!\S) | \s
 *     cl100k   '(?i:[sdmt]|ll|ve|re) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n]*
 *              | \s+$ | \s*[\r\n] | \s+(?!\S) | \s
 *     llama3   cl100k without \s+$ before \s*[\r\n]
 *     qwen2    llama3 with one digit a piece
 *     o200k    letters by case (see letters_by_case), \p{N}{1,3}, ?[^\s\p{L}\p{N}]+[\r\n/]*, then as llama3
 *
 * Every character belongs to exactly one piece. Time: linear in the text for the whole text, though one call may look
 * over a run of white space that a following call looks over once more. Exactness: the pattern under the properties of
 * the given Unicode version; bytes that are not UTF-8 by the rule of utf8.h. Source: the patterns as tiktoken 0.14.0 and
 * the models' tokenizer.json state them. */
#ifndef LF_TEXT_SPLIT_H
#define LF_TEXT_SPLIT_H

#include "lf.h"
#include "text/unicode.h"

typedef enum {
    LF_SPLIT_NONE,
    LF_SPLIT_GPT2,
    LF_SPLIT_CL100K,
    LF_SPLIT_LLAMA3,
    LF_SPLIT_QWEN2,
    LF_SPLIT_O200K
} lf_split;

/* The end of the piece that begins at `at` < n. LF_SPLIT_NONE: all the rest is one piece. */
size_t lf_split_next(lf_split split, const lf_unicode *unicode, const uint8_t *text, size_t n, size_t at);

#endif
