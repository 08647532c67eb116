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

static lf_status add_steps(lf_bert *b) {
    const lf_bert_options *o = &b->options;
    const lf_step all[LF_BERT_STEPS] = {
        {.kind = LF_STEP_REWRITE, .option = LF_CLEAN},     {.kind = LF_STEP_REWRITE, .option = LF_SPACE_IDEOGRAPHS},
        {.kind = LF_STEP_FORM, .option = LF_NFD},          {.kind = LF_STEP_REWRITE, .option = LF_STRIP_NONSPACING},
        {.kind = LF_STEP_REWRITE, .option = LF_LOWERCASE},
    };
    const int on[LF_BERT_STEPS] = {o->clean, o->space_ideographs, o->strip_accents, o->strip_accents, o->lowercase};
    lf_status status = LF_OK;
    for (size_t i = 0; i < LF_BERT_STEPS && status == LF_OK; i++) {
        if (!on[i]) continue;
        b->steps[b->n_steps] = all[i];
        status = lf_step_init(&b->steps[b->n_steps++]);
    }
    return status;
}

lf_status lf_bert_new(lf_bert **bert, const lf_wordpiece *model, lf_bert_options options) {
    lf_bert *b = calloc(1, sizeof *b);
    if (!(*bert = b)) return LF_ENOMEM;
    b->model = model;
    b->options = options;
    lf_glyph *glyph = b->glyphs;
    for (uint32_t cp = 0; cp < LF_GLYPHS_LOW; cp++) *glyph++ = lf_bert_glyph(&options, cp);
    for (uint32_t cp = LF_GLYPHS_HIGH; cp < 0x10000; cp++) *glyph++ = lf_bert_glyph(&options, cp);
    const lf_status status = add_steps(b);
    if (status != LF_OK) lf_bert_free(b), *bert = NULL;
    return status;
}

void lf_bert_free(lf_bert *bert) {
    if (!bert) return;
    for (size_t i = 0; i < bert->n_steps; i++) lf_step_free(&bert->steps[i]);
    free(bert);
}

/* The ids of text that is normalized, each with the bytes of the input that it comes from. */
static lf_status encode_normalized(const lf_bert *bert, const lf_aligned *normal, uint32_t *lengths, uint32_t *ids,
                                   int64_t *spans, size_t *n_ids) {
    const uint8_t *text = normal->bytes;
    const size_t n = normal->n;
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
        if (!found) return *n_ids = normal->places[at].begin, LF_EVALUE;
        for (size_t i = 0, begin = at; i < found; begin += lengths[i++], ++*n_ids) {
            spans[2 * *n_ids] = normal->places[begin].begin;
            spans[2 * *n_ids + 1] = normal->places[begin + lengths[i] - 1].end;
        }
    }
    return LF_OK;
}

lf_status lf_bert_trace(const lf_bert *bert, const uint8_t *text, size_t n, uint32_t *ids, int64_t *spans,
                        size_t *n_ids) {
    lf_aligned texts[2] = {{.traced = 1}, {.traced = 1}};
    lf_changes changes = {0};
    unsigned now = 0;
    *n_ids = 0;
    lf_status status = n > LF_BERT_TRACED_MOST ? LF_ENOMEM : lf_aligned_begin(&texts[0], text, n);
    for (size_t i = 0; i < bert->n_steps && status == LF_OK; i++, now ^= 1)
        status = lf_step_apply(&bert->steps[i], &texts[now], &texts[now ^ 1], &changes);
    lf_aligned_free(&texts[now ^ 1]), lf_changes_free(&changes);
    uint32_t *lengths = status == LF_OK ? malloc((texts[now].n + 1) * sizeof *lengths) : NULL;
    if (status == LF_OK)
        status = lengths ? encode_normalized(bert, &texts[now], lengths, ids, spans, n_ids) : LF_ENOMEM;
    free(lengths);
    lf_aligned_free(&texts[now]);
    return status;
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
