/* sentencepiece_encode.c - the encoder; see sentencepiece.h. */
#define _GNU_SOURCE /* madvise and MAP_ANONYMOUS */
#include <string.h>

#include "text/piece_kinds.h"
#include "text/sentencepiece.h"
#include "text/sentencepiece_cuts.h"
#include "text/word_cache.h"

enum {
    DEPTH_MOST = 100, /* how often an unused piece is taken apart */
    FUSED = 1 << 31,  /* an id in the cache that is none: so many unknown characters more than the ids tell */
    /* A note. Where runs of unknown characters have one id, a word that begins with one may have to give it up. */
    RUNS = 1 << 27, /* there are ids that are none */
    BEGINS_UNKNOWN = 1 << 26,
    ENDS_UNKNOWN = 1 << 25,
    LIMIT_SHIFT = 7, /* ... and of the largest sum before the word, which is below 2^17, the bits but for the last 7 */
    LIMIT = (1 << 24) - 1,
};

struct lf_sp_workspace {
    const lf_sp *model;
    int prefixed;                /* a space goes before the text, if not one only of spaces that go */
    word_cache words;            /* by their bytes in the text */
    word_cache segments;         /* BPE: by the bytes of normalized text between two cuts */
    lf_status status;            /* set where memory ran out or a character has no id */
    float sum;                   /* of the scores so far; LF_RULE_SENTENCEPIECE */
    const uint32_t *unknown_end; /* behind the last id, if that is one for unknown characters; else anywhere else */
    lf_scored_scratch scratch;
    lf_sp_text normalized;
    lf_unigram_node *nodes;
    uint32_t *ids;                 /* of one word */
    size_t n_nodes, n_ids;         /* bytes of these two */
    uint8_t first[WORD_MOST + 16]; /* the first word, with the space that is put before it */
    word_key keys[CUT_WORDS];      /* of a batch of words ... */
    word_line *lines[CUT_WORDS];   /* ... and where they belong */
    uint32_t bounds[CUT_ROOM];
};

/* Where ids go. */
typedef struct {
    uint32_t *ids;
    int64_t *spans; /* begin and end in the normalized text, NULL if nobody asks */
    size_t n;
    int after_unknown; /* the last id is one unknown character or several */
} sink;

/* What goes behind the ids that were given last. */
static sink sink_at(const lf_sp_workspace *w, uint32_t *ids) { return (sink){ids, NULL, 0, w->unknown_end == ids}; }

static size_t close_sink(lf_sp_workspace *w, const sink *s) {
    if (s->after_unknown) w->unknown_end = s->ids + s->n;
    return s->n;
}

/* Pieces to ids. */

static inline void give(sink *s, uint32_t id, size_t begin, size_t end) {
    if (s->spans) s->spans[2 * s->n] = (int64_t)begin, s->spans[2 * s->n + 1] = (int64_t)end;
    s->ids[s->n++] = id;
}

/* An unknown piece: its bytes, of which the last has the whole as its place; or one id for a whole run of them. */
static void give_unknown(lf_sp_workspace *w, sink *s, const uint8_t *text, size_t begin, size_t end) {
    const lf_sp *m = w->model;
    if (m->has_bytes) {
        for (size_t i = begin; i < end; i++) give(s, m->bytes[text[i]], begin, i + 1 == end ? end : begin);
    } else if (!s->after_unknown) {
        if (m->parts.unknown_id == LF_SP_NO_ID) w->status = LF_EVALUE;
        give(s, m->parts.unknown_id, begin, end);
    } else if (s->spans) s->spans[2 * s->n - 1] = (int64_t)end;
    s->after_unknown = 1;
}

static inline void give_piece(sink *s, uint32_t id, size_t begin, size_t end) {
    give(s, id, begin, end);
    s->after_unknown = 0;
}

static void give_path(lf_sp_workspace *w, sink *s, const uint8_t *text, size_t n) {
    for (size_t at = 0, end; at < n; at = end) {
        end = at + w->nodes[at].length;
        const uint32_t id = w->nodes[at].id;
        if (id == LF_PIECE_UNKNOWN) give_unknown(w, s, text, at, end);
        else give_piece(s, id, at, end);
    }
}

/* A symbol of BPE: a piece, or an unused piece taken apart, or unknown. Returns where it ends. */
static size_t give_symbol(lf_sp_workspace *w, sink *s, const uint8_t *text, uint32_t symbol, size_t begin, size_t end,
                          unsigned depth) {
    const lf_scored_bpe *bpe = &w->model->bpe;
    if (symbol == LF_UNIT_NONE || symbol >= bpe->n_ids) return give_unknown(w, s, text, begin, end), end;
    const uint32_t *apart = (bpe->ambiguous ? w->scratch.apart : bpe->taken_apart) + 2 * symbol;
    if (bpe->kinds[symbol] != LF_UNUSED || depth > DEPTH_MOST) return give_piece(s, symbol, begin, end), end;
    if (apart[0] == UINT32_MAX) return give_unknown(w, s, text, begin, end), end;
    const int64_t *offsets = w->model->parts.offsets;
    const size_t left = apart[0] < bpe->n_ids ? (size_t)(offsets[apart[0] + 1] - offsets[apart[0]])
                                              : lf_sp_width(text + begin, end - begin);
    give_symbol(w, s, text, apart[0], begin, begin + left, depth + 1);
    return give_symbol(w, s, text, apart[1], begin + left, end, depth + 1);
}

/* Normalized text to ids. */

static void merge(lf_sp_workspace *w, const uint8_t *text, size_t from, size_t to, lf_scored_chance *chance, sink *s) {
    uint32_t symbols[LF_SCORED_FEW], starts[LF_SCORED_FEW + 1];
    const uint32_t n_few =
        chance ? 0 : lf_scored_bpe_merge_few(&w->model->bpe, text + from, to - from, symbols, starts);
    if (LF_LIKELY(n_few)) {
        for (uint32_t i = 0; i < n_few; i++)
            give_symbol(w, s, text, symbols[i], from + starts[i], from + starts[i + 1], 0);
        return;
    }
    const lf_status status = lf_scored_bpe_merge(&w->model->bpe, text + from, to - from, &w->scratch, chance);
    if (status != LF_OK) {
        w->status = status;
        return;
    }
    for (uint32_t i = 0; i != UINT32_MAX; i = w->scratch.nodes[i].next) {
        const lf_scored_node *node = &w->scratch.nodes[i];
        from = give_symbol(w, s, text, node->symbol, from, from + node->length, 0);
    }
}

/* The note of ids that stand alone: whether they begin or end with the id of unknown characters, which a run shares. */
static uint32_t edges_of(const lf_sp *m, const uint32_t *ids, int after_unknown) {
    if (m->has_bytes) return 0;
    return (ids[0] == m->parts.unknown_id ? BEGINS_UNKNOWN : 0) | (after_unknown ? ENDS_UNKNOWN : 0);
}

/* A segment from the cache, where its ids lie as if it stood alone; the note says whether it begins or ends unknown. */
static void segment(lf_sp_workspace *w, const uint8_t *text, size_t from, size_t to, const uint8_t *end, sink *s) {
    const size_t n = to - from, first = s->n;
    const word_found found =
        n <= WORD_MOST && !s->spans ? words_find(&w->segments, text + from, n, end) : (word_found){NULL, 0, 0, 0};
    if (found.ids) {
        const unsigned fused = s->after_unknown && found.note & BEGINS_UNKNOWN;
        memcpy(s->ids + s->n, found.ids + fused, (found.n_ids - fused) * sizeof *s->ids);
        s->n += found.n_ids - fused;
        s->after_unknown = (found.note & ENDS_UNKNOWN) != 0;
        return;
    }
    const int after_unknown = s->after_unknown;
    merge(w, text, from, to, NULL, s);
    if (n > WORD_MOST || s->spans || after_unknown || w->status != LF_OK) return;
    words_put(&w->segments, text + from, n, end, s->ids + first, s->n - first, s->n - first,
              edges_of(w->model, s->ids + first, s->after_unknown));
}

/* Normalized text between two cuts of BPE, one after another. Where there is more than one, they are looked up. */
static void segment_all(lf_sp_workspace *w, const uint8_t *text, size_t n, sink *s) {
    enum { WHOLE = 32, AHEAD = 32 };
    const lf_scored_bpe *bpe = &w->model->bpe;
    if (bpe->ambiguous || n <= WHOLE) return merge(w, text, 0, n, NULL, s);
    size_t cuts[AHEAD + 1] = {0}, at = 0;
    while (at < n) {
        size_t n_cuts = 0;
        for (; n_cuts < AHEAD && at < n; at = cuts[n_cuts]) {
            cuts[n_cuts + 1] = lf_scored_bpe_cut(bpe, text, n, at);
            words_prefetch(&w->segments, text + at, cuts[n_cuts + 1] - at, text + n);
            n_cuts++;
        }
        if (n_cuts == 1 && cuts[0] == 0 && at == n) return merge(w, text, 0, n, NULL, s);
        for (size_t i = 0; i < n_cuts; i++) segment(w, text, cuts[i], cuts[i + 1], text + n, s);
        cuts[0] = at;
    }
}

static int nodes_for(lf_sp_workspace *w, size_t n) {
    w->nodes = lf_grown(w->nodes, &w->n_nodes, (n + 1) * sizeof *w->nodes, &w->status);
    return w->nodes != NULL;
}

static void best_path(lf_sp_workspace *w, const uint8_t *text, size_t n, sink *s) {
    if (!nodes_for(w, n)) return;
    w->sum = (float)lf_unigram_best(&w->model->unigram, text, n, w->sum, w->nodes);
    give_path(w, s, text, n);
}

static void model(lf_sp_workspace *w, const uint8_t *text, size_t n, sink *s) {
    if (!n) return;
    if (w->model->parts.family == LF_SP_BPE) segment_all(w, text, n, s);
    else best_path(w, text, n, s);
}

/* Words. */

/* A sum as a number that orders as its absolute value does. */
static inline uint32_t size_of(float sum) {
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return bits & 0x7FFFFFFF;
}

/* The sum before a word, as the rule has it: it was taken off if it had grown large. */
static inline float settled(float sum) { return sum < -LF_UNIGRAM_RESET || sum > LF_UNIGRAM_RESET ? 0 : sum; }

/* Whether the word that was normalized is to be taken with the next one; see sentencepiece.h. Where spaces are kept, what
 * follows a word that ends with one is a cut or nothing. */
static int is_odd(const lf_sp_workspace *w, uint8_t last_byte) {
    const lf_sp_text *out = &w->normalized;
    if (!w->model->normalizer.options.remove_extra_whitespaces && w->model->is_space[last_byte]) return 0;
    if (!out->n || lf_sp_ends_with_marker(&w->model->normalizer, out)) return 1;
    size_t last = out->n - 1;
    while (last && out->n - last < 4 && (out->bytes[last] & 0xC0) == 0x80) last--;
    const unsigned bit = lf_sp_crossing_bit(out->bytes + last, out->n - last);
    return w->model->crossing[bit / 8] >> bit % 8 & 1;
}

/* Normalizes a word as it is where other words stand before it. */
static void normalize_word(lf_sp_workspace *w, const uint8_t *p, size_t n) {
    const lf_sp_normalizer *z = &w->model->normalizer;
    int after_space = z->options.remove_extra_whitespaces && w->model->is_space[p[0]];
    w->normalized.n = 0;
    const size_t marked = (size_t)after_space; /* the space that became the mark */
    if ((after_space && lf_sp_mark(z, 0, &w->normalized) != LF_OK) ||
        lf_sp_normalize_part(z, p + marked, n - marked, marked, &after_space, &w->normalized) != LF_OK)
        w->status = LF_ENOMEM;
}

/* The path of the word that was normalized, for the cache: its ids, and for each run of unknown characters how many there
 * are besides the one that its id stands for. Returns the note. */
static uint32_t path_for_cache(lf_sp_workspace *w, sink *s, float limit) {
    const lf_sp *m = w->model;
    const uint8_t *text = w->normalized.bytes;
    uint32_t note = 0;
    if (limit > 0) memcpy(&note, &limit, sizeof note), note >>= LIMIT_SHIFT;
    for (size_t at = 0, end; at < w->normalized.n; at = end) {
        end = at + w->nodes[at].length;
        if (w->nodes[at].id != LF_PIECE_UNKNOWN) {
            give_piece(s, w->nodes[at].id, at, end);
        } else if (m->has_bytes) {
            s->ids[s->n++] = (uint32_t)FUSED | 1;
            note |= RUNS;
            give_unknown(w, s, text, at, end);
        } else {
            uint32_t more = 0;
            for (; end < w->normalized.n && w->nodes[end].id == LF_PIECE_UNKNOWN; more++) end += w->nodes[end].length;
            give_unknown(w, s, text, at, end);
            if (more) s->ids[s->n++] = (uint32_t)FUSED | more, note |= RUNS;
            note |= (at ? 0 : BEGINS_UNKNOWN) | (end < w->normalized.n ? 0 : ENDS_UNKNOWN);
        }
    }
    return note;
}

/* Gives the n ids of a path from the cache and adds up the scores; those of what lies behind the ids, up to `n_all`, too. */
static size_t follow(lf_sp_workspace *w, const uint32_t *path, size_t n, size_t n_all, uint32_t *ids) {
    const lf_sp *m = w->model;
    size_t n_ids = 0;
    uint32_t last = LF_SP_NO_ID;
    float sum = settled(w->sum);
    for (size_t i = 0; i < n_all; i++) {
        if (path[i] & (uint32_t)FUSED) {
            for (uint32_t k = path[i] & ~(uint32_t)FUSED; k; k--) sum += (float)m->unigram.unknown;
            continue;
        }
        sum += m->sums[path[i]];
        if (i >= n) continue;
        last = path[i];
        if (i || last != m->parts.unknown_id || w->unknown_end != ids) ids[n_ids++] = last;
    }
    if (last == m->parts.unknown_id) w->unknown_end = ids + n_ids;
    w->sum = sum;
    return n_ids;
}

/* The same of BPE, where nothing is added up. */
static size_t repeat_ids(lf_sp_workspace *w, word_found found, uint32_t *ids) {
    const uint32_t fused = found.note & BEGINS_UNKNOWN && w->unknown_end == ids;
    memcpy(ids, found.ids + fused, (found.n_ids - fused) * sizeof *ids);
    if (found.note & ENDS_UNKNOWN) w->unknown_end = ids + found.n_ids - fused;
    return found.n_ids - fused;
}

static int holds(const lf_sp_workspace *w, uint32_t note) {
    return size_of(settled(w->sum)) < (note & LIMIT) << LIMIT_SHIFT;
}

/* Whether a short word of Unigram can be given at once: its sums hold, and nothing in it stands for unknown characters that
 * have no id. */
static inline int fits(float sum, uint32_t note) {
    return (size_of(sum) >> LIMIT_SHIFT | (note & RUNS)) < (note & LIMIT);
}

#define ODD SIZE_MAX

/* The ids of the word that was normalized, after what was given before. */
static size_t best_here(lf_sp_workspace *w, uint32_t *ids) {
    sink s = sink_at(w, ids);
    best_path(w, w->normalized.bytes, w->normalized.n, &s);
    return close_sink(w, &s);
}

/* Puts a path into the cache. A word that ends with a few unknown characters has their scores behind its ids. */
static void put_path(lf_sp_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *path, size_t n_path,
                     uint32_t note) {
    const uint32_t last = path[n_path - 1], more = last & ~(uint32_t)FUSED;
    size_t n_ids = 0;
    while (n_ids < n_path && !(path[n_ids] & (uint32_t)FUSED)) n_ids++;
    if (n_ids + 1 == n_path && n_ids + more <= w->words.short_ids && !w->model->has_bytes) {
        for (size_t i = 0; i < more; i++) path[n_ids + i] = w->model->parts.unknown_id;
        words_put(&w->words, p, n, end, path, n_ids + more, n_ids, note & ~(uint32_t)RUNS);
    } else words_put(&w->words, p, n, end, path, n_path, n_path, note);
}

/* The ids of the word that was normalized and is not odd; puts them into the cache under p. */
static size_t compute_word(lf_sp_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    const size_t n_text = w->normalized.n;
    w->ids = lf_grown(w->ids, &w->n_ids, (3 * n_text + 8) * sizeof *w->ids, &w->status);
    if (!w->ids) return 0;
    sink s = {w->ids, NULL, 0, 0};
    if (w->model->parts.family == LF_SP_BPE) {
        segment_all(w, w->normalized.bytes, n_text, &s);
        if (w->status != LF_OK) return 0;
        const uint32_t note = edges_of(w->model, w->ids, s.after_unknown);
        if (n <= WORD_MOST) words_put(&w->words, p, n, end, w->ids, s.n, s.n, note);
        return repeat_ids(w, (word_found){w->ids, (uint32_t)s.n, note, 0}, ids);
    }
    if (n > WORD_MOST) return best_here(w, ids);
    float limit;
    if (!nodes_for(w, n_text)) return 0;
    lf_unigram_word(&w->model->unigram, w->normalized.bytes, n_text, w->nodes, &limit);
    const uint32_t note = path_for_cache(w, &s, limit);
    const size_t n_given = holds(w, note) ? follow(w, s.ids, s.n, s.n, ids) : SIZE_MAX;
    put_path(w, p, n, end, s.ids, s.n, note);
    return n_given != SIZE_MAX ? n_given : best_here(w, ids);
}

/* The ids of a word, or ODD. */
static size_t look_up(lf_sp_workspace *w, const uint8_t *p, size_t n, const uint8_t *end, uint32_t *ids) {
    if (n <= WORD_MOST) {
        const word_found found = words_find(&w->words, p, n, end);
        if (found.ids && !found.n_ids) return ODD;
        if (found.ids && w->model->parts.family == LF_SP_BPE) return repeat_ids(w, found, ids);
        if (found.ids && holds(w, found.note)) return follow(w, found.ids, found.n_ids, found.n_all, ids);
        if (found.ids) {
            normalize_word(w, p, n);
            return w->status == LF_OK ? best_here(w, ids) : 0;
        }
    }
    normalize_word(w, p, n);
    if (w->status != LF_OK) return 0;
    if (!is_odd(w, p[n - 1])) return compute_word(w, p, n, end, ids);
    static const uint32_t none[1] = {0};
    if (n <= WORD_MOST) words_put(&w->words, p, n, end, none, 0, 0, 0);
    return ODD;
}

/* Where the spaces at text[at] and what follows them end, before the next space. */
static size_t before_space(const lf_sp *m, const uint8_t *text, size_t n, size_t at) {
    while (at < n && m->is_space[text[at]]) at++;
    while (at < n && !m->is_space[text[at]]) at++;
    return at;
}

/* An odd word and those after it, up to a space that a word stands before which is not odd, or to the end of the text.
 * Moves *at behind them. */
static size_t stretch(lf_sp_workspace *w, const uint8_t *text, size_t n, size_t *at, uint32_t *ids) {
    const lf_sp_normalizer *z = &w->model->normalizer;
    const int trim = z->options.remove_extra_whitespaces;
    const int spaced = trim && w->model->is_space[text[*at]];
    int after_space = *at ? spaced : trim;
    sink s = sink_at(w, ids);
    w->normalized.n = 0;
    if ((*at ? spaced : w->prefixed) && lf_sp_mark(z, 0, &w->normalized) != LF_OK) w->status = LF_ENOMEM;
    do {
        const size_t end = before_space(w->model, text, n, *at);
        if (lf_sp_normalize_part(z, text + *at, end - *at, 0, &after_space, &w->normalized) != LF_OK)
            w->status = LF_ENOMEM;
        *at = end;
    } while (*at < n && is_odd(w, 0) && w->status == LF_OK);
    if (w->status != LF_OK) return 0;
    while (*at == n && trim && lf_sp_ends_with_marker(z, &w->normalized)) w->normalized.n -= z->n_marker;
    model(w, w->normalized.bytes, w->normalized.n, &s);
    return close_sink(w, &s);
}

/* A character of text that is well-formed. */
static inline unsigned read_valid(const uint8_t *p, uint32_t *c) {
    if (p[0] < 0xE0) return *c = (p[0] & 31u) << 6 | (p[1] & 63u), 2;
    if (p[0] < 0xF0) return *c = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u), 3;
    return *c = (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u), 4;
}

/* A run of characters that are alone, perhaps after a space: by BPE with pieces for all bytes. */
static size_t give_alone_bytes(const lf_sp *m, const uint8_t *p, const uint8_t *end, uint32_t *ids) {
    size_t n = 0;
    if (*p < 128) ids[n++] = m->marker_id, p++;
    while (p < end) {
        uint32_t c;
        const unsigned width = read_valid(p, &c);
        const uint32_t entry = lf_characters_of(&m->characters, c);
        const uint32_t known = 0u - (entry / LF_CHARACTER_KNOWN & 1); /* in place of a branch nobody could predict */
        ids[n] = (entry & LF_CHARACTER_ID & known) | (m->bytes[p[0]] & ~known);
        ids[n + 1] = m->bytes[p[1]];
        if (LF_LIKELY(width == 3)) ids[n + 2] = m->bytes[p[2]];
        else if (width == 4) ids[n + 2] = m->bytes[p[2]], ids[n + 3] = m->bytes[p[3]];
        n += 1 + ((width - 1) & ~known);
        p += width;
    }
    return n;
}

/* The same by Unigram. */
static size_t give_alone_sums(lf_sp_workspace *w, const uint8_t *p, const uint8_t *end, uint32_t *ids) {
    const lf_sp *m = w->model;
    size_t n = 0;
    float sum = w->sum;
    if (*p < 128) ids[n++] = m->marker_id, sum = settled(sum) + m->sums[m->marker_id], p++;
    while (p < end) {
        uint32_t c;
        const unsigned width = read_valid(p, &c);
        const uint32_t entry = lf_characters_of(&m->characters, c), id = entry & LF_CHARACTER_ID;
        const int known = (entry & LF_CHARACTER_KNOWN) != 0;
        sum = settled(sum) + (known ? m->sums[id] : (float)m->unigram.unknown);
        if (known) ids[n++] = id;
        for (unsigned i = 0; i < width && !known; i++) ids[n++] = m->bytes[p[i]];
        p += width;
    }
    w->sum = sum;
    return n;
}

/* The same where unknown characters have one id: all that are alone are unknown; see note_characters. */
static size_t give_alone_unknown(lf_sp_workspace *w, const uint8_t *p, const uint8_t *end, uint32_t *ids) {
    const lf_sp *m = w->model;
    const float unknown = (float)m->unigram.unknown;
    int after_unknown = w->unknown_end == ids;
    size_t n = 0;
    float sum = w->sum;
    if (*p < 128) ids[n++] = m->marker_id, sum = settled(sum) + m->sums[m->marker_id], after_unknown = 0, p++;
    for (size_t left = lf_utf8_count(p, (size_t)(end - p)); left; left--) sum = settled(sum) + unknown;
    ids[n] = m->parts.unknown_id;
    n += !after_unknown;
    w->unknown_end = ids + n, w->sum = sum;
    return n;
}

static size_t give_alone(lf_sp_workspace *w, const uint8_t *p, const uint8_t *end, uint32_t *ids) {
    const lf_sp *m = w->model;
    if (!m->has_bytes) return give_alone_unknown(w, p, end, ids);
    return m->parts.family == LF_SP_BPE ? give_alone_bytes(m, p, end, ids) : give_alone_sums(w, p, end, ids);
}

/* Words, by batches. */

static void key_batch(lf_sp_workspace *w, const uint8_t *text, const uint8_t *end, size_t n_words) {
    for (size_t i = 0; i < n_words; i++) {
        const uint32_t begin = w->bounds[2 * i];
        const uint8_t *p = text + begin;
        const size_t n = w->bounds[2 * i + 1] - begin; /* more than any word has where the word is not looked up */
        w->lines[i] = words_key(&w->words, p, n, end, &w->keys[i]);
    }
}

/* The ids of words i and on of a batch. Stops before an odd one; returns its number. */
static inline size_t emit_batch(lf_sp_workspace *w, const uint8_t *text, const uint8_t *end, size_t i, size_t n_words,
                                const int sums, const int narrow, uint32_t *ids, size_t *n_ids) {
    const float *piece_sums = w->model->sums;
    const unsigned room = narrow ? 6 : 3;
    size_t n = *n_ids;
    float sum = w->sum;
    uint32_t after_unknown = w->unknown_end == ids + n;
    for (; i < n_words; i++) {
        const word_ids *found = words_probe_line(w->lines[i], w->keys[i]);
        if (LF_LIKELY(found != NULL)) {
            const uint32_t count = word_count(*found), note = word_note(*found);
            if (LF_LIKELY(count - 1 < room && (sums ? fits(sum, note) : !note))) {
                if (sums) n -= after_unknown & note / BEGINS_UNKNOWN; /* the id is the same as the one before it */
                words_take(found, narrow, ids + n);
                if (sums) {
                    after_unknown = note / ENDS_UNKNOWN & 1;
                    const uint32_t *all = ids + n; /* 0 is added where there is no id */
                    sum = sum + piece_sums[all[0]] + piece_sums[all[1]] + piece_sums[all[2]];
                    if (narrow && LF_UNLIKELY(all[3] != w->words.pad))
                        sum = sum + piece_sums[all[3]] + piece_sums[all[4]] + piece_sums[all[5]];
                }
                n += count;
                continue;
            }
        }
        const uint32_t begin = w->bounds[2 * i], stop = w->bounds[2 * i + 1];
        size_t more;
        if (sums) w->sum = sum, w->unknown_end = after_unknown ? ids + n : NULL;
        if (begin & CUT_ALONE) more = give_alone(w, text + (begin & ~CUT_ALONE), text + stop, ids + n);
        else more = look_up(w, text + begin, stop - begin, end, ids + n);
        if (more == ODD) break;
        n += more;
        if (sums) sum = w->sum, after_unknown = w->unknown_end == ids + n;
    }
    if (sums) w->sum = sum, w->unknown_end = after_unknown ? ids + n : NULL;
    *n_ids = n;
    return i;
}

static size_t emit(lf_sp_workspace *w, const uint8_t *text, const uint8_t *end, size_t i, size_t n_words, uint32_t *ids,
                   size_t *n_ids) {
    const int sums = w->model->parts.family == LF_SP_UNIGRAM, narrow = w->words.narrow;
    if (sums && narrow) return emit_batch(w, text, end, i, n_words, 1, 1, ids, n_ids);
    if (sums) return emit_batch(w, text, end, i, n_words, 1, 0, ids, n_ids);
    if (narrow) return emit_batch(w, text, end, i, n_words, 0, 1, ids, n_ids);
    return emit_batch(w, text, end, i, n_words, 0, 0, ids, n_ids);
}

/* The first word of a text, before which a space is put that is not there. ODD as look_up. */
static size_t first_word(lf_sp_workspace *w, const uint8_t *text, size_t n, uint32_t *ids) {
    if (n + 1 > WORD_MOST) return ODD;
    w->first[0] = ' ';
    memcpy(w->first + 1, text, n);
    return look_up(w, w->first, n + 1, w->first + sizeof w->first, ids);
}

static size_t encode_words(lf_sp_workspace *w, const uint8_t *text, size_t n, uint32_t *ids) {
    const lf_sp_options *options = &w->model->normalizer.options;
    const int collapse = options->remove_extra_whitespaces, dummy = w->prefixed;
    size_t n_ids = 0, at = 0;
    cut_list cuts = {w->bounds, 0};
    if (collapse && !dummy) n_ids = stretch(w, text, n, &at, ids);
    int first =
        dummy && !(collapse && w->model->is_space[text[0]]); /* the next word is one that a space is put before */
    while (at < n && w->status == LF_OK) {
        cut_text(w->model, text, n, at, &cuts);
        const size_t n_words = cuts.n / 2 < CUT_WORDS ? cuts.n / 2 : CUT_WORDS;
        if (!n_words) break;
        key_batch(w, text, text + n, n_words);
        size_t done = 0;
        if (first) {
            const uint32_t begin = w->bounds[0] & ~CUT_ALONE;
            const size_t more = first_word(w, text + begin, w->bounds[1] - begin, ids);
            if (more != ODD) n_ids = more, done = 1;
        }
        if (!first || done) done = emit(w, text, text + n, done, n_words, ids, &n_ids);
        first = 0;
        if (done < n_words) {
            at = w->bounds[2 * done] & ~CUT_ALONE;
            n_ids += stretch(w, text, n, &at, ids + n_ids);
        } else at = w->bounds[2 * n_words - 1];
    }
    return n_ids;
}

/* Calls. */

enum { KEPT_MOST = 1 << 22 }; /* bytes of a buffer that stays between calls */

static void trim(lf_sp_workspace *w) {
    if (w->n_nodes > KEPT_MOST) free(w->nodes), w->nodes = NULL, w->n_nodes = 0;
    if (w->n_ids > KEPT_MOST) free(w->ids), w->ids = NULL, w->n_ids = 0;
    if (w->normalized.room > KEPT_MOST || w->normalized.origins_room > KEPT_MOST / 8) lf_sp_text_free(&w->normalized);
    if (w->scratch.n_nodes > KEPT_MOST / sizeof *w->scratch.nodes) lf_scored_scratch_free(&w->scratch);
}

static lf_status finish(lf_sp_workspace *w) {
    trim(w);
    const lf_status status = w->status;
    w->status = LF_OK;
    return status;
}

static lf_status normalized(lf_sp_workspace *w, const uint8_t *text, size_t n, int traced) {
    w->sum = 0;
    if (n > LF_SP_MOST) return LF_EVALUE;
    w->normalized.traced = traced;
    lf_sp_normalizer z = w->model->normalizer;
    z.options.add_dummy_prefix = w->prefixed;
    const lf_status status = lf_sp_normalize(&z, text, n, &w->normalized);
    w->normalized.traced = 0;
    return status == LF_OK && w->normalized.n > LF_SP_MOST ? LF_EVALUE : status;
}

/* A whole text at once. */
static size_t encode_whole(lf_sp_workspace *w, const uint8_t *text, size_t n, uint32_t *ids) {
    sink s = {ids, NULL, 0, 0};
    w->status = normalized(w, text, n, 0);
    if (w->status != LF_OK) return 0;
    model(w, w->normalized.bytes, w->normalized.n, &s);
    return s.n;
}

lf_status lf_sp_encode(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids, size_t *n_ids) {
    w->prefixed = first && w->model->normalizer.options.add_dummy_prefix;
    *n_ids = 0;
    if (n == 0) return LF_OK;
    if (!w->model->by_words || n > LF_SP_MOST) {
        *n_ids = encode_whole(w, text, n, ids);
    } else {
        w->sum = 0, w->unknown_end = NULL;
        *n_ids = encode_words(w, text, n, ids);
    }
    return finish(w);
}

lf_status lf_sp_encode_traced(lf_sp_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                              int64_t *spans, size_t *n_ids) {
    sink s = {ids, spans, 0, 0};
    w->prefixed = first && w->model->normalizer.options.add_dummy_prefix;
    *n_ids = 0;
    if (n == 0) return LF_OK;
    const lf_status status = normalized(w, text, n, 1);
    if (status != LF_OK) return status;
    model(w, w->normalized.bytes, w->normalized.n, &s);
    for (size_t i = 0; i < 2 * s.n; i++) spans[i] = (int64_t)w->normalized.origins[spans[i]];
    *n_ids = s.n;
    return finish(w);
}

lf_status lf_sp_encode_dropout(lf_sp_workspace *w, const uint8_t *text, size_t n, lf_scored_chance *chance,
                               uint32_t *ids, size_t *n_ids) {
    sink s = {ids, NULL, 0, 0};
    w->prefixed = w->model->normalizer.options.add_dummy_prefix;
    *n_ids = 0;
    if (n == 0) return LF_OK;
    const lf_status status = normalized(w, text, n, 0);
    if (status != LF_OK) return status;
    if (w->normalized.n) merge(w, w->normalized.bytes, 0, w->normalized.n, chance, &s);
    *n_ids = s.n;
    return finish(w);
}

void lf_sp_workspace_free(lf_sp_workspace *w) {
    if (!w) return;
    words_free(&w->words), words_free(&w->segments);
    lf_scored_scratch_free(&w->scratch);
    lf_sp_text_free(&w->normalized);
    free(w->nodes), free(w->ids);
    free(w);
}

lf_status lf_sp_workspace_new(lf_sp_workspace **workspace, const lf_sp *model, size_t cache_bytes) {
    *workspace = NULL;
    lf_sp_workspace *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
    if (!w) return LF_ENOMEM;
    memset(w, 0, sizeof *w);
    w->model = model;
    const size_t segments = model->parts.family == LF_SP_BPE ? cache_bytes / 8 : 0;
    if (!words_new(&w->words, cache_bytes - segments, model->parts.n_ids) ||
        !words_new(&w->segments, segments, model->parts.n_ids))
        return lf_sp_workspace_free(w), LF_ENOMEM;
    *workspace = w;
    return LF_OK;
}
