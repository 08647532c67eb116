/* bert.c - glyphs, words with their places, and which encoder an instruction set has; see bert.h. */
#include "text/bert.h"

#include <stdlib.h>
#include <string.h>

#include "text/normalize.h"

lf_glyph_kind lf_bert_kind(lf_word_rule rule, uint32_t cp) {
    const unsigned class = cp < 0x110000 ? lf_class_of(lf_unicode_for(16), cp) : 0;
    if (class & LF_SPACE) return LF_SPACED;
    if (rule == LF_WORDS_BERT) return lf_traits_of(cp) & LF_PUNCTUATION_8 ? LF_ALONE : LF_WORDY;
    return rule == LF_WORDS_SPACES || class & LF_WORD ? LF_WORDY : LF_SIGN;
}

lf_glyph lf_bert_glyph(const lf_bert_options *o, uint32_t cp) {
    const lf_glyph hard = lf_glyph_of(LF_HARD, 0, 0);
    uint32_t cleaned = cp, lower[3];
    uint64_t bytes = 0;
    unsigned n_bytes = 0;
    lf_glyph_kind kind = LF_GONE;
    if (o->clean && !lf_rewritten(LF_CLEAN, cp, &cleaned)) return lf_glyph_of(LF_GONE, 0, 0);
    const lf_form_entry *e = lf_form_entry_of(cleaned);
    if (o->strip_accents && cleaned >= 0xAC00 && cleaned <= 0xD7A3) return hard; /* Hangul syllables decompose too */
    const int whole = !o->strip_accents || !e->n_full;
    const uint32_t *from = whole ? &cleaned : lf_form_full + e->full_at;
    for (unsigned i = 0; i < (whole ? 1 : e->n_full); i++) {
        if (o->strip_accents && lf_traits_of(from[i]) & LF_NONSPACING_8) continue;
        if (o->strip_accents && lf_form_entry_of(from[i])->ccc) return hard; /* it may change places */
        lower[0] = from[i];
        const unsigned n = o->lowercase ? lf_rewritten(LF_LOWERCASE, from[i], lower) : 1;
        for (unsigned k = 0; k < n; k++) {
            const lf_glyph_kind before = kind;
            kind = lf_bert_kind(o->rule, lower[k]);
            if (n_bytes && (kind != before || kind == LF_ALONE)) return hard;
            if (n_bytes + lf_utf8_length(lower[k]) > LF_GLYPH_MOST) return hard;
            bytes |= lf_glyph_bytes(lower[k]) << 8 * n_bytes;
            n_bytes += lf_utf8_length(lower[k]);
        }
    }
    return lf_glyph_of(kind, bytes, n_bytes);
}

lf_status lf_bert_new(lf_bert **bert, const lf_wordpiece *model, lf_bert_options options) {
    lf_bert *b = malloc(sizeof *b);
    if (!(*bert = b)) return LF_ENOMEM;
    b->model = model;
    b->options = options;
    lf_glyph *glyph = b->glyphs;
    for (uint32_t cp = 0; cp < LF_GLYPHS_LOW; cp++) *glyph++ = lf_bert_glyph(&options, cp);
    for (uint32_t cp = LF_GLYPHS_HIGH; cp < 0x10000; cp++) *glyph++ = lf_bert_glyph(&options, cp);
    return LF_OK;
}

void lf_bert_free(lf_bert *bert) { free(bert); }

lf_status lf_bert_spans(const lf_bert *bert, const uint8_t *text, size_t n, uint32_t *ids, int64_t *spans,
                        size_t *n_ids, size_t *where) {
    uint32_t *lengths = malloc((n + 1) * sizeof *lengths);
    if (!lengths) return LF_ENOMEM;
    *n_ids = 0;
    for (size_t at = 0, stop; at < n; at = stop) {
        uint32_t cp;
        stop = at + lf_utf8_read(text + at, text + n, &cp);
        const lf_glyph_kind kind = lf_bert_kind(bert->options.rule, cp);
        if (kind == LF_SPACED) continue;
        while (kind != LF_ALONE && stop < n) {
            const unsigned length = lf_utf8_read(text + stop, text + n, &cp);
            if (lf_bert_kind(bert->options.rule, cp) != kind) break;
            stop += length;
        }
        const size_t found = lf_wordpiece_encode(bert->model, text + at, stop - at, ids + *n_ids, lengths);
        if (!found) return free(lengths), *where = at, LF_EVALUE;
        for (size_t i = 0, begin = at; i < found; begin += lengths[i++]) {
            spans[2 * (*n_ids + i)] = (int64_t)begin;
            spans[2 * (*n_ids + i) + 1] = (int64_t)(begin + lengths[i]);
        }
        *n_ids += found;
    }
    free(lengths);
    return LF_OK;
}

extern const lf_bert_ops lf_bert_generic;
#if defined(__x86_64__)
extern const lf_bert_ops lf_bert_avx2, lf_bert_avx512;
#endif

const lf_bert_ops *lf_bert_ops_for(lf_isa isa) {
    switch (isa) {
    case LF_GENERIC: return &lf_bert_generic;
#if defined(__x86_64__)
    case LF_AVX2: return &lf_bert_avx2;
    case LF_AVX512: return &lf_bert_avx512;
#endif
    default: return NULL;
    }
}
