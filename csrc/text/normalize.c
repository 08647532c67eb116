/* normalize.c - the normalization forms; see normalize.h. */
#include "text/normalize.h"

#include <string.h>

#include "text/utf8.h"

/* Hangul syllables, section 3.12: a leading consonant and a vowel make an LV syllable, that and a trailing consonant an
 * LVT syllable. The C forms never take syllables apart: an LV that meets a trailing consonant composes as it stands. */
enum { L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, S_BASE = 0xAC00, L_N = 19, V_N = 21, T_N = 28 };
enum { S_N = L_N * V_N * T_N };

static inline int decomposes(lf_form form) { return form == LF_NFD || form == LF_NFKD; }

/* The decomposed text, a character at a time. `took` is how many characters of the input begin in the present one, 0 or
 * 1: the first of a decomposition has it. */
typedef struct {
    const uint8_t *at, *end; /* what is still to be read                       */
    const uint32_t *full;    /* what is left of the decomposition being passed */
    unsigned n_full;
    uint32_t hangul[3]; /* the decomposition of a syllable                */
    lf_form form;
    uint32_t cp;  /* the present character ...                      */
    unsigned ccc; /* ... its combining class                        */
    int64_t took;
    int more; /* whether there is one                           */
} cursor;

static void take_syllable_apart(cursor *c, uint32_t s) {
    c->hangul[0] = L_BASE + s / (V_N * T_N);
    c->hangul[1] = V_BASE + s % (V_N * T_N) / T_N;
    c->hangul[2] = T_BASE + s % T_N;
    c->full = c->hangul;
    c->n_full = s % T_N ? 3 : 2;
}

static void advance(cursor *c) {
    c->took = !c->n_full;
    if (!c->n_full) {
        c->more = c->at < c->end;
        if (!c->more) return;
        uint32_t cp;
        unsigned n = lf_utf8_read(c->at, c->end, &cp);
        if (cp == LF_NO_CHARACTER) cp = LF_RAW_BYTE + *c->at;
        c->at += n;
        const lf_form_entry *e = lf_form_entry_of(cp);
        if (e->n_compat && c->form >= LF_NFKC) {
            c->full = lf_form_full + e->compat_at;
            c->n_full = e->n_compat;
        } else if (e->n_full) {
            c->full = lf_form_full + e->full_at;
            c->n_full = e->n_full;
        } else if (decomposes(c->form) && cp - S_BASE < S_N) {
            take_syllable_apart(c, cp - S_BASE);
        } else {
            c->cp = cp;
            c->ccc = e->ccc;
            return;
        }
    }
    c->n_full--;
    c->cp = *c->full++;
    c->ccc = lf_form_entry_of(c->cp)->ccc;
}

/* What has been written, and the last starter in it. Where alignments are asked for, from[] holds at the first byte of
 * each character how many characters of the input it took, until the segment is done. */
typedef struct {
    uint8_t *out;
    int64_t *from;
    size_t n;
    size_t starter_at; /* where the last starter begins ...                                     */
    uint32_t starter;  /* ... and what it is; a raw byte (composes with nothing) before one     */
    unsigned last_ccc; /* class of the last character written; 0: it is the starter             */
} composer;

static void append(composer *k, size_t at, uint32_t cp, int64_t took) {
    lf_utf8_write(cp, k->out + at);
    if (k->from) k->from[at] = took;
}

/* Passes the run of marks (combining class not 0) at the cursor and writes it behind k->n in canonical order: by class,
 * and as found within a class. Returns its length. Runs are mostly in order; one that is not is laid out by counting the
 * bytes of each class and reading it twice more. */
static size_t order_marks(cursor *c, composer *k) {
    const cursor start = *c;
    size_t n = 0;
    unsigned least = 255, most = 0;
    int in_order = 1;
    for (unsigned before = 0; c->more && c->ccc; before = c->ccc, advance(c)) {
        append(k, k->n + n, c->cp, c->took);
        n += lf_utf8_length(c->cp);
        in_order &= before <= c->ccc;
        if (least > c->ccc) least = c->ccc;
        if (most < c->ccc) most = c->ccc;
    }
    if (in_order) return n;
    size_t to[256];
    memset(to + least, 0, (most - least + 1) * sizeof *to);
    for (cursor r = start; r.more && r.ccc; advance(&r)) to[r.ccc] += lf_utf8_length(r.cp);
    for (size_t ccc = least, sum = k->n; ccc <= most; ccc++) {
        size_t bytes = to[ccc];
        to[ccc] = sum;
        sum += bytes;
    }
    for (cursor r = start; r.more && r.ccc; advance(&r)) {
        append(k, to[r.ccc], r.cp, r.took);
        to[r.ccc] += lf_utf8_length(r.cp);
    }
    return n;
}

/* The primary composite of two characters; 0 if there is none. */
static uint32_t composite(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_N && b - V_BASE < V_N) return S_BASE + ((a - L_BASE) * V_N + (b - V_BASE)) * T_N;
    if (a - S_BASE < S_N && (a - S_BASE) % T_N == 0 && b - T_BASE - 1 < T_N - 1) return a + (b - T_BASE);
    const lf_form_entry *e = lf_form_entry_of(a);
    const lf_form_pair *pair = lf_form_pairs + e->pairs_at;
    for (unsigned i = 0; i < e->n_pairs; i++)
        if (pair[i].second == b) return pair[i].composite;
    return 0;
}

/* Takes the next character in canonical order: composes it with the last starter if nothing between them blocks it,
 * else appends it. A starter composes at most three times (a full decomposition has at most four characters), so the
 * moves of what follows it are linear in all; they never overtake the characters that are still to be read from the
 * same buffer, because a composite is no longer than its two parts together. */
static void compose(composer *k, uint32_t cp, unsigned ccc, int64_t took) {
    if (k->last_ccc < ccc || k->last_ccc == 0) {
        uint32_t both = composite(k->starter, cp);
        if (both) {
            unsigned n_old = lf_utf8_length(k->starter), n_new = lf_utf8_length(both);
            const size_t to = k->starter_at + n_new, at = k->starter_at + n_old;
            memmove(k->out + to, k->out + at, k->n - at);
            if (k->from) {
                took += k->from[k->starter_at];
                memmove(k->from + to, k->from + at, (k->n - at) * sizeof *k->from);
            }
            append(k, k->starter_at, both, took);
            k->n += n_new - n_old;
            k->starter = both;
            return;
        }
    }
    if (ccc == 0) {
        k->starter = cp;
        k->starter_at = k->n;
    }
    append(k, k->n, cp, took);
    k->n += lf_utf8_length(cp);
    k->last_ccc = ccc;
}

/* From how many characters of the segment text[0 .. n) each written character took to the bytes they stand for. */
static void align_segment(const uint8_t *text, size_t n, const uint8_t *out, size_t n_out, int64_t *from) {
    size_t offset = 0;
    for (size_t i = 0; i < n_out;) {
        uint32_t cp;
        const unsigned length = lf_utf8_read(out + i, out + n_out, &cp);
        const int64_t stands_for = (int64_t)offset - (from[i] == 0);
        for (int64_t took = from[i]; took > 0; took--) offset += lf_utf8_read(text + offset, text + n, &cp);
        for (unsigned k = 0; k < length; k++) from[i + k] = stands_for;
        i += length;
    }
}

/* The form of text that begins and ends at boundaries; returns its length. */
static size_t normalize_segment(lf_form form, const uint8_t *text, size_t n, uint8_t *out, int64_t *from) {
    cursor c = {.at = text, .end = text + n, .form = form};
    composer k = {.out = out, .from = from, .starter = LF_RAW_BYTE};
    for (advance(&c); c.more;) {
        if (c.ccc == 0) {
            if (decomposes(form)) append(&k, k.n, c.cp, c.took), k.n += lf_utf8_length(c.cp);
            else compose(&k, c.cp, 0, c.took);
            advance(&c);
            continue;
        }
        size_t mark = k.n;
        const size_t end = mark + order_marks(&c, &k);
        if (decomposes(form)) k.n = end;
        else
            while (mark < end) {
                uint32_t cp;
                const int64_t took = from ? from[mark] : 0;
                mark += lf_utf8_read(out + mark, out + end, &cp);
                compose(&k, cp, lf_form_entry_of(cp)->ccc, took);
            }
    }
    if (from) align_segment(text, n, out, k.n, from);
    return k.n;
}

/* How many bytes at p, in steps of eight, are below `first`, the first byte of the first character that a form changes:
 * characters below it (or bytes that are no character), all plain. A byte is `first` or above if its top bit is set and
 * its other bits plus 0x100 - first carry into the top bit. */
static size_t skip_plain(const uint8_t *p, size_t n, unsigned first) {
    const uint64_t ones = 0x0101010101010101u;
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        if (w & ((w & 0x7F * ones) + (0x100 - first) * ones) & 0x80 * ones) break;
    }
    return i;
}

size_t lf_form_prefix(lf_form form, const uint8_t *text, size_t n) {
    static const uint8_t first_changed[] = {0xCC, 0xC3, 0x80, 0x80}; /* U+0300, U+00C0, U+00A0, U+00A0 */
    size_t at = 0;
    for (unsigned last_ccc = 0; at < n;) {
        size_t plain = skip_plain(text + at, n - at, first_changed[form]);
        if (plain) {
            at += plain;
            last_ccc = 0;
            if (at == n) return n;
            if (lf_utf8_continues(text[at]) && text[at - 1] >= 0xC2) at--; /* the step ended inside a character */
        }
        uint32_t cp;
        unsigned bytes = lf_utf8_read(text + at, text + n, &cp);
        const lf_form_entry *e = lf_form_entry_of(cp);
        if (LF_UNLIKELY(decomposes(form) && cp - S_BASE < S_N)) return at;
        if (LF_UNLIKELY(e->flags)) {
            if (lf_unsure(e, form) || (e->ccc && e->ccc < last_ccc)) {
                while (at > 0 && lf_joins(e, form)) {
                    at = lf_utf8_before(text, at);
                    lf_utf8_read(text + at, text + n, &cp);
                    e = lf_form_entry_of(cp);
                }
                return at;
            }
        }
        last_ccc = e->ccc;
        at += bytes;
    }
    return n;
}

size_t lf_form_next(lf_form form, const uint8_t *text, size_t n, size_t at) {
    uint32_t cp;
    for (at += lf_utf8_read(text + at, text + n, &cp); at < n;) {
        unsigned bytes = lf_utf8_read(text + at, text + n, &cp);
        if (!lf_joins(lf_form_entry_of(cp), form)) break;
        at += bytes;
    }
    return at;
}

/* Copies n bytes at text + at, which stand for themselves. */
static void copy(const uint8_t *text, size_t at, size_t n, uint8_t *out, int64_t *from) {
    memcpy(out, text + at, n);
    if (from)
        for (size_t i = 0; i < n; i++) from[i] = (int64_t)(at + i);
}

size_t lf_normalize(lf_form form, const uint8_t *restrict text, size_t n, uint8_t *restrict out,
                    int64_t *restrict from) {
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        size_t good = lf_form_prefix(form, text + at, n - at);
        copy(text, at, good, out + n_out, from ? from + n_out : NULL);
        n_out += good;
        at += good;
        if (at == n) break;
        size_t end = lf_form_next(form, text, n, at);
        const size_t n_segment = normalize_segment(form, text + at, end - at, out + n_out, from ? from + n_out : NULL);
        if (from)
            for (size_t i = 0; i < n_segment; i++) from[n_out + i] += (int64_t)at;
        n_out += n_segment;
        at = end;
    }
    return n_out;
}
