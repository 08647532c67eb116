/* sentencepiece.c - building a model; see sentencepiece.h. */
#include "text/sentencepiece.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/piece_kinds.h"
#include "text/utf8.h"

static const uint8_t *piece(const lf_sp *m, uint32_t id, size_t *n) {
    *n = (size_t)(m->parts.offsets[id + 1] - m->parts.offsets[id]);
    return m->parts.blob + m->parts.offsets[id];
}

/* Whether text can become this piece: it is of a kind that the model segments into. */
static int in_text(const lf_sp *m, uint32_t id) {
    const uint8_t kind = m->parts.kinds[id];
    if (m->parts.family == LF_SP_UNIGRAM && m->parts.rule == LF_RULE_TOKENIZERS) return kind != LF_NO_PIECE;
    if (kind == LF_UNUSED) return m->parts.family == LF_SP_BPE;
    return kind == LF_NORMAL || kind == LF_USER_DEFINED;
}

/* A double array of the pieces that `takes` takes. */
static lf_status array_of(const lf_sp *m, int (*takes)(const lf_sp *, uint32_t), lf_double_array *array,
                          size_t *where) {
    lf_trie trie;
    lf_status status = lf_trie_new(&trie, (size_t)m->parts.offsets[m->parts.n_ids] + 2);
    if (status == LF_EVALUE) *where = LF_SP_NO_ID - 1;
    if (status != LF_OK) return status;
    for (uint32_t id = 0; id < m->parts.n_ids && status == LF_OK; id++) {
        size_t n;
        const uint8_t *p = piece(m, id, &n);
        if (!n || !takes(m, id)) continue;
        const uint32_t node = lf_trie_insert(&trie, p, n);
        if (trie.values[node] != LF_TRIE_NONE) *where = id, status = LF_EVALUE;
        trie.values[node] = id;
    }
    if (status == LF_OK) status = lf_double_array_new(array, &trie);
    lf_trie_free(&trie);
    return status;
}

static int is_symbol(const lf_sp *m, uint32_t id) { return m->parts.kinds[id] == LF_USER_DEFINED; }

static lf_status build_unigram(lf_sp *m, size_t *where) {
    const lf_sp_parts *parts = &m->parts;
    const int narrow = parts->rule == LF_RULE_SENTENCEPIECE;
    double least = narrow ? FLT_MAX : INFINITY, largest = 0;
    for (uint32_t id = 0; id < parts->n_ids; id++) {
        size_t n;
        piece(m, id, &n);
        double score = narrow ? (float)parts->scores[id] : parts->scores[id];
        if (!isfinite(score)) return *where = id, LF_EVALUE;
        if ((narrow ? parts->kinds[id] == LF_NORMAL : parts->kinds[id] != LF_NO_PIECE) && score < least) least = score;
        if (narrow && is_symbol(m, id)) score = (float)(0.1 * ((int)n - 1));
        m->piece_scores[id] = score;
        m->sums[id] = in_text(m, id) ? (float)score : 0;
        if (score > largest) largest = score;
    }
    m->unigram.scores = m->piece_scores;
    m->unigram.unknown = narrow ? (float)least - 10.0f : least - 10.0;
    m->unigram.largest = fmax(fabs(m->unigram.unknown), largest);
    m->unigram.rule = parts->rule;
    if (parts->unknown_id != LF_SP_NO_ID) m->sums[parts->unknown_id] = (float)m->unigram.unknown;
    const lf_status status = array_of(m, in_text, &m->unigram.pieces, where);
    return status == LF_OK ? lf_unigram_prepare(&m->unigram, parts->n_ids) : status;
}

static lf_status build_bpe(lf_sp *m, size_t *where) {
    for (uint32_t id = 0; id < m->parts.n_ids; id++) m->float_scores[id] = (float)m->parts.scores[id];
    return lf_scored_bpe_new(&m->bpe, m->parts.blob, m->parts.offsets, m->float_scores, m->parts.kinds, m->parts.n_ids,
                             m->has_symbols ? &m->symbols : NULL, where);
}

/* The byte that a piece names as `<0x41>`, -1 if it names none. */
static int byte_of(const uint8_t *p, size_t n) {
    static const char DIGITS[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(p, "<0x", 3) || p[5] != '>') return -1;
    const char *high = memchr(DIGITS, p[3], 16), *low = memchr(DIGITS, p[4], 16);
    return high && low ? (int)(16 * (high - DIGITS) + (low - DIGITS)) : -1;
}

/* The ids of `<0x00>` to `<0xFF>`. A piece of the kind that is for bytes must be one of them. */
static lf_status find_bytes(lf_sp *m, size_t *where) {
    size_t n_found = 0;
    memset(m->bytes, 0xFF, sizeof m->bytes);
    for (uint32_t id = 0; id < m->parts.n_ids; id++) {
        size_t n;
        const uint8_t *p = piece(m, id, &n), kind = m->parts.kinds[id];
        const int byte = kind == LF_NO_PIECE ? -1 : byte_of(p, n);
        if (byte < 0 && kind == LF_BYTE) return *where = id, LF_EVALUE;
        if (byte < 0 || m->bytes[byte] != LF_SP_NO_ID) continue;
        m->bytes[byte] = id;
        n_found++;
    }
    m->has_bytes = m->parts.byte_fallback && n_found == 256;
    return LF_OK;
}

static int is_utf8(const uint8_t *p, size_t n) {
    uint32_t c = 0;
    for (size_t i = 0; i < n && c != LF_NO_CHARACTER;) i += lf_utf8_read(p + i, p + n, &c);
    return c != LF_NO_CHARACTER;
}

/* Notes the characters that some piece has before a marker, other than the marker itself. */
static void note_crossing(lf_sp *m, const uint8_t *p, size_t n) {
    const lf_sp_normalizer *z = &m->normalizer;
    for (size_t at = 0, before = SIZE_MAX; at < n;) {
        const int marker = n - at >= z->n_marker && !memcmp(p + at, z->marker, z->n_marker);
        const size_t width = lf_sp_width(p + at, n - at);
        if (marker && before != SIZE_MAX) {
            const unsigned bit = lf_sp_crossing_bit(p + before, at - before);
            m->crossing[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
        before = marker ? SIZE_MAX : at;
        at += width;
    }
}

static int is_known(const lf_sp *m, const uint8_t *p, size_t n) {
    const int bpe = m->parts.family == LF_SP_BPE;
    const uint32_t id = lf_double_array_find(bpe ? &m->bpe.pieces : &m->unigram.pieces, p, n);
    return id < m->parts.n_ids && m->parts.kinds[id] != LF_UNUSED;
}

/* What is known of each ASCII byte that bears on cuts. */
typedef struct {
    uint8_t joined[128][128]; /* two bytes are side by side in some piece */
    uint8_t in_symbol[256];   /* a byte of a user-defined symbol */
    uint8_t to[128];          /* what a byte is normalized to, 0 where that is not one ASCII byte */
    int well_formed;          /* user-defined symbols and replacements are UTF-8 */
} bytes_notes;

static void note_bytes(const lf_sp *m, bytes_notes *notes) {
    const lf_charsmap *map = m->charsmap;
    notes->well_formed = !map || map->well_formed;
    for (uint32_t id = 0; id < m->parts.n_ids; id++) {
        size_t n;
        const uint8_t *p = piece(m, id, &n);
        if (!in_text(m, id)) continue;
        for (size_t i = 0; i + 1 < n; i++)
            if (p[i] < 128 && p[i + 1] < 128) notes->joined[p[i]][p[i + 1]] = 1;
        if (!is_symbol(m, id)) continue;
        for (size_t i = 0; i < n; i++) notes->in_symbol[p[i]] = 1;
        notes->well_formed &= is_utf8(p, n);
    }
    for (unsigned b = 0; b < 128; b++) {
        const uint8_t byte = (uint8_t)b, *to = &byte;
        if (map && map->inside[b]) continue;
        const size_t ruled = map ? lf_charsmap_match(map, &byte, 1, &to) : 0;
        if (ruled && (notes->in_symbol[b] || to[0] >= 128 || !to[0] || to[1])) continue;
        notes->to[b] = to[0];
    }
}

/* What pieces and rules say about characters. Bytes that `to` does not tell are not plain. */
static lf_status note_characters(lf_sp *m) {
    lf_status status = lf_characters_new(&m->characters, m->charsmap);
    for (uint32_t id = 0; id < m->parts.n_ids && status == LF_OK; id++) {
        size_t n;
        const uint8_t *p = piece(m, id, &n);
        if (!in_text(m, id)) continue;
        note_crossing(m, p, n);
        status = lf_characters_note(&m->characters, p, n, id, m->parts.kinds[id] != LF_UNUSED);
    }
    if (status != LF_OK) return status;
    for (uint32_t b = 0; b < 128; b++) {
        uint32_t *entry = lf_characters_at(&m->characters, b);
        if (!entry) return LF_ENOMEM;
        *entry &= LF_CHARACTER_ID | LF_CHARACTER_INSIDE | LF_CHARACTER_KNOWN;
        if (m->to[b]) *entry |= LF_CHARACTER_PLAIN;
        else if (m->charsmap && m->charsmap->inside[b]) *entry |= LF_CHARACTER_INSIDE;
    }
    uint32_t *marker = lf_characters_at(&m->characters, 0x2581);
    if (!marker) return LF_ENOMEM;
    if (m->normalizer.n_marker == 3) *marker = LF_CHARACTER_INSIDE;
    m->marker_id = lf_double_array_find(m->parts.family == LF_SP_BPE ? &m->bpe.pieces : &m->unigram.pieces,
                                        m->normalizer.marker, m->normalizer.n_marker);
    /* Where unknown characters have one id, those that are alone are all unknown, so that a run of them is that id. */
    for (size_t i = 0; i < m->characters.n_pages * LF_CHARACTER_PAGE && !m->has_bytes; i++)
        if (m->characters.entries[i] & LF_CHARACTER_KNOWN) m->characters.entries[i] &= ~LF_CHARACTER_ALONE;
    for (uint32_t c = 0; c < 128; c++) m->ascii[c] = lf_characters_of(&m->characters, c);
    for (uint32_t c = 0x80; c < 0x10000; c++) {
        const uint32_t entry =
            lf_characters_of(&m->characters, c) & (LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE | LF_CHARACTER_INSIDE);
        uint64_t *alone = c < 0x800 ? &m->alone_2[c / 64] : &m->alone_3[c / 64];
        if (c >= 0xD800 && c < 0xE000) continue; /* surrogates are no characters */
        *alone |= (uint64_t)(entry == (LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE)) << c % 64;
        if (c < 0x800) m->letters_2[c / 64] |= (uint64_t)(entry == LF_CHARACTER_PLAIN) << c % 64;
    }
    for (unsigned i = 0; i < 32 && !m->has_symbols; i++) m->normalizer.plain_2[i] = m->alone_2[i] | m->letters_2[i];
    return LF_OK;
}

/* Whether and where texts can be cut into words; sentencepiece.h has the conditions. */
static lf_status find_words(lf_sp *m) {
    const lf_sp_normalizer *z = &m->normalizer;
    const lf_charsmap *map = m->charsmap;
    bytes_notes notes = {0};
    note_bytes(m, &notes);
    for (unsigned b = 0; b < 128; b++) {
        if (notes.to[b] != ' ' || notes.in_symbol[b] || (map && map->longer[b])) continue;
        if ((b != ' ' && !z->options.remove_extra_whitespaces) || m->n_spaces == sizeof m->spaces) continue;
        m->spaces[m->n_spaces++] = (uint8_t)b;
        m->is_space[b] = 1;
    }
    for (unsigned b = 0; map && b < 128; b++)
        if (map->longer[b]) m->bound_high = UINT64_MAX;
    for (unsigned b = 0; b < 128; b++)
        if (!m->is_space[b] && notes.to[b] != ' ') m->to[b] = notes.to[b];
    for (unsigned a = 0; a < 128; a++)
        for (unsigned b = 0; b < 128; b++)
            if (m->to[a] && m->to[b] && !notes.joined[m->to[a]][m->to[b]]) m->cuts[a][b / 64] |= (uint64_t)1 << b % 64;
    lf_status status = note_characters(m);
    if (status != LF_OK) return status;
    m->by_words = notes.well_formed && is_known(m, z->marker, z->n_marker) && m->is_space[' '] &&
                  !z->options.treat_whitespace_as_suffix && !m->bpe.ambiguous && m->parts.rule == LF_RULE_SENTENCEPIECE;
    return LF_OK;
}

/* Ids for a byte of text: a space becomes a marker, an ill-formed byte U+FFFD, a rule's bytes its replacement. Each has
 * at most an id for a character, or for a byte where unknown characters become bytes. */
static void find_growth(lf_sp *m) {
    const lf_sp_normalizer *z = &m->normalizer;
    const int in_bytes = m->has_bytes;
    m->growth = 1;
    if (in_bytes && !(is_known(m, z->marker, z->n_marker) && is_known(m, (const uint8_t *)"\xEF\xBF\xBD", 3)))
        m->growth = 3;
    if (!m->charsmap) return;
    const size_t rules = in_bytes ? 3 * m->charsmap->growth : m->charsmap->characters;
    if (rules > m->growth) m->growth = rules;
}

static lf_status build(lf_sp *m, size_t *where) {
    const lf_sp_parts *parts = &m->parts;
    m->float_scores = malloc((size_t)parts->n_ids * sizeof *m->float_scores + 1);
    m->piece_scores = malloc((size_t)parts->n_ids * sizeof *m->piece_scores + 1);
    m->sums = calloc((size_t)parts->n_ids + 1, sizeof *m->sums);
    if (!m->float_scores || !m->piece_scores || !m->sums) return LF_ENOMEM;
    lf_status status = find_bytes(m, where);
    if (status != LF_OK) return status;
    if (parts->n_charsmap) {
        status = lf_charsmap_new(&m->charsmap, parts->charsmap, parts->n_charsmap, where);
        *where += parts->n_ids;
        if (status != LF_OK) return status;
    }
    for (uint32_t id = 0; id < parts->n_ids; id++) m->has_symbols |= is_symbol(m, id);
    m->has_symbols &= parts->rule == LF_RULE_SENTENCEPIECE;
    status = m->has_symbols ? array_of(m, is_symbol, &m->symbols, where) : LF_OK;
    lf_sp_normalizer_init(&m->normalizer, m->charsmap, m->has_symbols ? &m->symbols : NULL, parts->options);
    if (status == LF_OK) status = parts->family == LF_SP_BPE ? build_bpe(m, where) : build_unigram(m, where);
    if (status == LF_OK && parts->unknown_id == LF_SP_NO_ID && !m->has_bytes && parts->rule == LF_RULE_SENTENCEPIECE)
        *where = LF_SP_NO_ID, status = LF_EVALUE;
    if (status == LF_OK) status = find_words(m);
    if (status == LF_OK) find_growth(m);
    return status;
}

lf_status lf_sp_new(lf_sp **model, const lf_sp_parts *parts, size_t *where) {
    *model = NULL;
    *where = 0;
    lf_sp *m = calloc(1, sizeof *m);
    if (!m) return LF_ENOMEM;
    m->parts = *parts;
    const lf_status status = build(m, where);
    if (status != LF_OK) return lf_sp_free(m), status;
    m->parts.charsmap = NULL; /* was read */
    *model = m;
    return LF_OK;
}

void lf_sp_free(lf_sp *m) {
    if (!m) return;
    lf_charsmap_free(m->charsmap);
    lf_double_array_free(&m->symbols);
    lf_double_array_free(&m->unigram.pieces);
    lf_unigram_drop(&m->unigram);
    lf_scored_bpe_free(&m->bpe);
    lf_characters_free(&m->characters);
    free(m->float_scores), free(m->piece_scores), free(m->sums);
    free(m);
}
