/* precompiled.c - see precompiled.h. */
#include "text/precompiled.h"

#include "text/graphemes.h"
#include "text/utf8.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { PLAIN, RULED, JOINS }; /* stays as it is; simple, and has a rule; not simple */
enum { WHOLE_MOST = 5 };      /* bytes of a cluster that is looked up as a whole */

/* The longest run of first bytes whose characters, of so many pages each, all stay; of none a byte that no text has. */
static void note_plain_firsts(const uint64_t *odd, unsigned n_pages, unsigned first, unsigned n, uint8_t *from,
                              uint8_t *more) {
    unsigned length = 0, longest = 0;
    *from = 255, *more = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t any = 0;
        for (unsigned page = 0; page < n_pages; page++) any |= odd[i * n_pages + page];
        length = any ? 0 : length + 1;
        if (length > longest)
            longest = length, *from = (uint8_t)(first + i + 1 - length), *more = (uint8_t)(length - 1);
    }
}

static void note_kinds(lf_precompiled *z) {
    z->printable = 1;
    for (uint32_t cp = 0; cp < 0x10000; cp++) {
        uint8_t bytes[4];
        const unsigned n = lf_utf8_write(cp, bytes);
        z->kinds[cp] = PLAIN;
        if (cp >= 0xD800 && cp < 0xE000) continue;
        if (!lf_grapheme_is_simple(lf_grapheme_class_of(cp))) z->kinds[cp] = JOINS;
        else if (lf_charsmap_first(z->map, bytes, n)) z->kinds[cp] = RULED;
        const uint8_t *to = cp < 128 && z->kinds[cp] == RULED ? lf_charsmap_first(z->map, bytes, n) : NULL;
        if (to && to[0] && to[0] < 128 && !to[1]) z->bytes[cp] = to[0];
        if (cp >= ' ' && cp <= '~') z->printable &= z->kinds[cp] == PLAIN;
    }
    memset(z->odd_twos, 255, sizeof z->odd_twos), memset(z->odd_threes, 255, sizeof z->odd_threes);
    for (uint32_t page = 2; page < 0x10000 / 64; page++) {
        uint64_t *odd = page < 0x800 / 64 ? &z->odd_twos[page] : &z->odd_threes[page];
        if (page >= 0xD800 / 64 && page < 0xE000 / 64) continue; /* surrogates */
        *odd = 0;
        for (uint32_t i = 0; i < 64; i++) *odd |= (uint64_t)(z->kinds[64 * page + i] != PLAIN) << i;
    }
    note_plain_firsts(z->odd_twos, 1, 0xC0, 32, &z->plain_two, &z->plain_twos);
    note_plain_firsts(z->odd_threes, 64, 0xE0, 16, &z->plain_three, &z->plain_threes);
}

lf_status lf_precompiled_new(lf_precompiled **out, const uint8_t *blob, size_t n, size_t *where) {
    *out = NULL;
    lf_precompiled *z = calloc(1, sizeof *z);
    if (!z) return LF_ENOMEM;
    lf_status status = lf_charsmap_new(&z->map, blob, n, where);
    if (status == LF_OK && !z->map->well_formed) *where = 0, status = LF_EVALUE;
    if (status != LF_OK) return lf_precompiled_free(z), status;
    note_kinds(z);
    *out = z;
    return LF_OK;
}

void lf_precompiled_free(lf_precompiled *z) {
    if (!z) return;
    lf_charsmap_free(z->map);
    free(z);
}

typedef struct {
    const lf_precompiled *z;
    const uint8_t *text;
    size_t n;
    lf_aligned *out;
    lf_changes *changes; /* NULL: nobody asks */
    lf_status status;
    size_t easy[128], n_easy; /* where ASCII characters are that become others */
} job;

static int note(job *j, size_t n, int64_t count) {
    lf_changes *c = j->changes;
    if (!lf_changes_reserve(c, c->n + n)) return j->status = LF_ENOMEM, 0;
    for (size_t i = 0; i < n; i++) c->counts[c->n++] = count;
    return 1;
}

static void write(job *j, const uint8_t *p, size_t n) {
    if (!lf_aligned_reserve(j->out, n)) {
        j->status = LF_ENOMEM;
        return;
    }
    memcpy(j->out->bytes + j->out->n, p, n);
    j->out->n += n;
}

static void keep(job *j, const uint8_t *p, size_t n) {
    write(j, p, n);
    if (j->changes) note(j, lf_utf8_count(p, n), 0);
}

/* What tokenizers notes: characters take the places of old ones in turn, those that are too many are put in, and the last
 * one written so far stands for those that are too few - which the first of all cannot. */
static void replace(job *j, const uint8_t *old, size_t n_old, const uint8_t *to) {
    const size_t n_to = strlen((const char *)to);
    write(j, to, n_to);
    if (!j->changes) return;
    const size_t was = lf_utf8_count(old, n_old), is = lf_utf8_count(to, n_to);
    const size_t same = was < is ? was : is;
    if (!note(j, same, 0) || !note(j, is - same, -1)) return;
    if (was > is && j->changes->n) j->changes->counts[j->changes->n - 1] += (int64_t)(was - is);
}

static void cluster(job *j, const uint8_t *p, size_t n, size_t n_characters) {
    const uint8_t *to = n <= WHOLE_MOST ? lf_charsmap_first(j->z->map, p, n) : NULL;
    if (to) return replace(j, p, n, to);
    if (n_characters == 1) return keep(j, p, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && lf_utf8_continues(p[end]);) end++;
        to = lf_charsmap_first(j->z->map, p + i, end - i);
        if (to) replace(j, p + i, end - i, to);
        else keep(j, p + i, end - i);
    }
}

/* The clusters from `at` on, where one begins, to two simple characters side by side. Returns where the second begins. */
static size_t stretch(job *j, size_t at) {
    lf_grapheme_run run = {0, 0, 0, 0, 0};
    size_t begin = at, n_characters = 0;
    int was_simple = 0;
    while (at < j->n && j->status == LF_OK) {
        uint32_t cp;
        const unsigned width = lf_utf8_read(j->text + at, j->text + j->n, &cp);
        if (cp == LF_NO_CHARACTER) return j->status = LF_EVALUE, at;
        const lf_grapheme_class class = lf_grapheme_class_of(cp);
        const int simple = lf_grapheme_is_simple(class);
        if (lf_grapheme_ends(&run, class)) {
            cluster(j, j->text + begin, at - begin, n_characters);
            begin = at, n_characters = 0;
            if (simple && was_simple) return at;
        }
        was_simple = simple;
        n_characters++;
        at += width;
    }
    cluster(j, j->text + begin, at - begin, n_characters);
    return at;
}

/* The kind of the character at `at`, and its length. */
static inline unsigned kind_at(job *j, size_t at, unsigned *width) {
    const uint8_t *p = j->text + at;
    uint32_t cp;
    *width = lf_utf8_read(p, j->text + j->n, &cp);
    if (LF_LIKELY(cp < 0x10000)) return j->z->kinds[cp];
    if (cp == LF_NO_CHARACTER) return j->status = LF_EVALUE, (unsigned)JOINS;
    if (!lf_grapheme_is_simple(lf_grapheme_class_of(cp))) return JOINS;
    return lf_charsmap_first(j->z->map, p, *width) ? RULED : PLAIN;
}

#if defined(__SSE2__)
/* Of 64 bytes from the begin of a character on: how many of them are whole characters of one to three bytes, and a bit for
 * each of these that may not stay as it is. The two bytes behind them may be read. */
static inline uint64_t odd_characters(const lf_precompiled *z, const uint8_t *p, unsigned *n_bytes) {
    uint64_t high = 0, continues = 0, twos = 0, threes = 0, fours = 0, odd = 0, plain = 0;
    __m128i v[4];
#define MASK(x) (uint64_t)(uint32_t)_mm_movemask_epi8(x) << 16 * i
#define UP_TO(x, n) _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8((char)(n))), x)
    for (unsigned i = 0; i < 4; i++) {
        v[i] = _mm_loadu_si128((const void *)(p + 16 * i));
        high |= MASK(v[i]);
        odd |= MASK(_mm_or_si128(_mm_cmpeq_epi8(v[i], _mm_set1_epi8(127)), UP_TO(v[i], 31)));
    }
    *n_bytes = 64;
    if (!high) return odd;
    for (unsigned i = 0; i < 4; i++) {
        const __m128i four = _mm_and_si128(v[i], _mm_set1_epi8((char)0xF0));
        continues |= MASK(_mm_cmplt_epi8(v[i], _mm_set1_epi8(-64)));
        twos |= MASK(_mm_cmpeq_epi8(_mm_and_si128(v[i], _mm_set1_epi8((char)0xE0)), _mm_set1_epi8((char)0xC0)));
        threes |= MASK(_mm_cmpeq_epi8(four, _mm_set1_epi8((char)0xE0)));
        fours |= MASK(_mm_cmpeq_epi8(four, _mm_set1_epi8((char)0xF0)));
        plain |= MASK(_mm_or_si128(UP_TO(_mm_sub_epi8(v[i], _mm_set1_epi8((char)z->plain_two)), z->plain_twos),
                                   UP_TO(_mm_sub_epi8(v[i], _mm_set1_epi8((char)z->plain_three)), z->plain_threes)));
    }
#undef UP_TO
#undef MASK
    const uint64_t firsts = twos | threes;
    const uint64_t stops = (continues ^ (firsts << 1 | threes << 2)) | fours;
    unsigned n = stops ? (unsigned)__builtin_ctzll(stops) : 64;
    /* A character that goes on behind these bytes, or does not go on as it should, is none of them. */
    const uint64_t before = n < 64 ? firsts & (((uint64_t)1 << n) - 1) : firsts;
    const unsigned last = before ? 63 - (unsigned)__builtin_clzll(before) : 0;
    if (before && last + 2 + (threes >> last & 1) > n) n = last;
    for (uint64_t rest = twos & ~plain; rest; rest &= rest - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(rest);
        odd |= (z->odd_twos[p[at] & 31] >> (p[at + 1] & 63) & 1) << at;
    }
    for (uint64_t rest = threes & ~plain; rest; rest &= rest - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(rest);
        odd |= (z->odd_threes[(p[at] & 15u) << 6 | (p[at + 1] & 63u)] >> (p[at + 2] & 63) & 1) << at;
    }
    *n_bytes = n;
    return n < 64 ? odd & (((uint64_t)1 << n) - 1) : odd;
}
#endif

/* Whether the character at `at` goes together with the one before it. */
static int joins(job *j, size_t at) {
    unsigned unused;
    return at < j->n && kind_at(j, at, &unused) == JOINS;
}

/* Whether nothing happens to the character at `at` but that it may become another of ASCII, which is noted: nearly always
 * the end of a line. Tells its kind and length. */
static inline int is_easy(job *j, size_t at, unsigned *kind, unsigned *width) {
    *kind = kind_at(j, at, width);
    if (*kind == PLAIN) return 1;
    if (*kind != RULED || *width > 1 || !j->z->bytes[j->text[at]] || j->changes || joins(j, at + 1)) return 0;
    if (j->n_easy == sizeof j->easy / sizeof *j->easy) return 0;
    j->easy[j->n_easy++] = at;
    return 1;
}

/* Where easy characters end, from `at` on. The kind of the one there, PLAIN at the end of the text, and its length. */
static size_t easy_end(job *j, size_t at, unsigned *kind, unsigned *width) {
    while (at < j->n) {
#if defined(__SSE2__)
        if (j->z->printable && j->n - at >= 64 + 2) {
            unsigned n_bytes;
            for (uint64_t odd = odd_characters(j->z, j->text + at, &n_bytes); odd; odd &= odd - 1) {
                const size_t here = at + (unsigned)__builtin_ctzll(odd);
                if (!is_easy(j, here, kind, width)) return here;
            }
            at += n_bytes;
            if (n_bytes) continue;
        }
#endif
        if (!is_easy(j, at, kind, width)) return at;
        at += *width;
    }
    return *kind = PLAIN, at;
}

/* Easy characters from `begin` on. */
static void keep_easy(job *j, size_t begin, size_t end) {
    const size_t to = j->out->n;
    keep(j, j->text + begin, end - begin);
    for (; j->n_easy && j->status == LF_OK; j->n_easy--) {
        const size_t at = j->easy[j->n_easy - 1];
        if (at < end) j->out->bytes[to + at - begin] = j->z->bytes[j->text[at]];
    }
}

static void go_through(job *j) {
    size_t at = 0;
    while (at < j->n && j->status == LF_OK) {
        const size_t start = at;
        unsigned width, kind;
        at = easy_end(j, at, &kind, &width);
        if (kind == PLAIN || j->status != LF_OK) return keep_easy(j, start, at);
        if (kind == RULED && !joins(j, at + width)) {
            keep_easy(j, start, at);
            cluster(j, j->text + at, width, 1);
            at += width;
        } else {
            size_t last = at; /* the character before one that joins may be in its cluster */
            while (kind == JOINS && last > start && lf_utf8_continues(j->text[--last])) continue;
            keep_easy(j, start, last);
            at = stretch(j, last);
        }
    }
}

/* Places by what was noted, as NormalizedString::transform in tokenizers finds them. */
static void find_places(const lf_aligned *text, lf_aligned *out, const lf_changes *changes) {
    size_t at = 0, o = 0;
    lf_place before = {0, 0};
    for (size_t i = 0; i < changes->n; i++) {
        const lf_place place = changes->counts[i] < 0 || at == text->n ? before : text->places[at];
        for (int64_t k = 0; k <= changes->counts[i] && at < text->n; k++) {
            before = text->places[at++];
            while (at < text->n && lf_utf8_continues(text->bytes[at])) at++;
        }
        do out->places[o++] = place;
        while (o < out->n && lf_utf8_continues(out->bytes[o]));
    }
}

lf_status lf_precompiled_apply(const lf_precompiled *z, const lf_aligned *text, lf_aligned *out, lf_changes *changes) {
    job j = {.z = z, .text = text->bytes, .n = text->n, .out = out, .changes = text->traced ? changes : NULL};
    out->n = changes->n = 0;
    if (!lf_aligned_reserve(out, text->n)) return LF_ENOMEM;
    go_through(&j);
    if (j.status == LF_OK && text->traced) find_places(text, out, changes);
    return j.status;
}
