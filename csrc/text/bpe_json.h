/* bpe_json.h - the vocabulary and the merges of a byte-level tokenizer.json, nearly all of such a file.
 *
 *     "model": {..., "vocab": {"!": 0, ..., "\u0120the": 262}, "merges": ["\u0120 t", ["\u0120", "a"], ...]}
 *
 * A character stands for a byte: each of !..~, U+00A1..U+00AC and U+00AE..U+00FF for its own, U+0100..U+0143 for the others in
 * order. What is read here is JSON and names such characters only; where anything is unusual the answer is LF_EVALUE, and
 * a slow reader says what it is.
 *
 * Complexity: linear, about 5 ns a byte. */
#ifndef LF_TEXT_BPE_JSON_H
#define LF_TEXT_BPE_JSON_H

#include "lf.h"

typedef struct {
    size_t start, stop;
} lf_span;

/* Where the values of model.vocab and model.merges stand in a text of n bytes, which need not be JSON: it is if it is with `{}`
 * and `[]` in their places, and the two are what lf_bpe_json_vocab and lf_bpe_json_merges take. LF_EVALUE: one is missing, or a
 * key stands twice. */
lf_status lf_bpe_json_find(const uint8_t *text, size_t n, lf_span *vocab, lf_span *merges);

/* Reads an object of tokens and ids, which have to increase. Token i becomes blob[offsets[i] .. offsets[i + 1]) with ids[i].
 * There is room for n / 6 + 1 tokens (offsets: one more), and in `blob` for n bytes. */
lf_status lf_bpe_json_vocab(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                            size_t *n_tokens);

/* Tokens by their bytes: a table of the number of each and one, in n_slots zeros, a power of two and more than n_tokens. */
typedef struct {
    const uint8_t *blob;
    const int64_t *offsets;
    uint32_t *slots;
    size_t n_slots;
} lf_bpe_json_tokens;

/* LF_EVALUE for a token that stands twice, and for tokens that crowd the table. */
lf_status lf_bpe_json_index(const lf_bpe_json_tokens *tokens, size_t n_tokens);

/* The number of a token, -1 if there is none with these bytes. */
int64_t lf_bpe_json_token(const lf_bpe_json_tokens *tokens, const uint8_t *bytes, size_t n);

/* Reads an array of merges, all strings or all pairs of strings: the numbers of the two tokens, and of the one that they make.
 * There is room for n / 6 + 1 merges, and in `scratch` for n bytes. */
lf_status lf_bpe_json_merges(const lf_bpe_json_tokens *tokens, size_t n_tokens, const uint8_t *text, size_t n,
                             uint8_t *scratch, uint32_t *pairs, uint32_t *made, size_t *n_merges);

#endif
