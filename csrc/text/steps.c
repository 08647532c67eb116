/* steps.c - see steps.h. */
#define _GNU_SOURCE /* memmem */
#include "text/steps.h"

#include "text/utf8.h"

/* Which characters a rewriting leaves as they are. */
static lf_status note_plain(lf_step *step) {
    uint32_t to[3];
    step->plain = calloc(0x10000 / 8, 1);
    if (!step->plain) return LF_ENOMEM;
    for (uint32_t cp = 0; cp < 0x10000; cp++)
        if (lf_rewritten((lf_rewriting)step->option, cp, to) == 1 && to[0] == cp)
            step->plain[cp / 8] |= (uint8_t)(1u << cp % 8);
    step->ascii_stays = 1;
    for (unsigned i = 0; i < 128 / 8; i++) step->ascii_stays &= step->plain[i] == 255;
    return LF_OK;
}

lf_status lf_step_init(lf_step *step) {
    size_t where;
    step->precompiled = NULL;
    step->plain = NULL;
    if (step->kind != LF_STEP_PATTERN) step->automaton.table = NULL;
    switch (step->kind) {
    case LF_STEP_PRECOMPILED: return lf_precompiled_new(&step->precompiled, step->from, step->n_from, &where);
    case LF_STEP_REPLACE: return step->n_from ? LF_OK : LF_EVALUE;
    case LF_STEP_REWRITE: return step->option >= 0 && step->option < LF_N_REWRITES ? note_plain(step) : LF_EVALUE;
    case LF_STEP_PATTERN: return step->automaton.table ? LF_OK : LF_EVALUE;
    case LF_STEP_FORM: return step->option >= LF_NFC && step->option <= LF_NFKD ? LF_OK : LF_EVALUE;
    default: return step->kind < LF_N_STEPS ? LF_OK : LF_EVALUE;
    }
}

void lf_step_free(lf_step *step) {
    lf_precompiled_free(step->precompiled);
    lf_automaton_free(&step->automaton);
    free(step->plain);
}

size_t lf_step_growth(const lf_step *step, int of_bytes) {
    size_t growth = 1, n;
    switch (step->kind) {
    case LF_STEP_PRECOMPILED: growth = step->precompiled->map->characters * (of_bytes ? 1 : 4); break;
    case LF_STEP_REPLACE:
        n = of_bytes ? step->n_from : lf_utf8_count(step->from, step->n_from);
        growth = (lf_utf8_count(step->to, step->n_to) + n - 1) / n;
        break;
    case LF_STEP_PATTERN: growth = lf_utf8_count(step->to, step->n_to); break;
    case LF_STEP_SPACES: growth = (lf_utf8_count(step->to, step->n_to) + 1) / 2; break;
    case LF_STEP_REWRITE:
        growth = step->option == LF_SPACE_IDEOGRAPHS ? 3 : step->option == LF_LOWERCASE ? 2 : 1;
        break;
    case LF_STEP_FORM: growth = step->option < LF_NFKC ? (of_bytes ? 2 : 4) : of_bytes ? 6 : 18; break;
    default: break;
    }
    return growth ? growth : 1;
}

size_t lf_step_added(const lf_step *step) {
    return step->kind == LF_STEP_PREPEND ? lf_utf8_count(step->to, step->n_to) : 0;
}

/* Puts `to` in the place of text[begin, end), where it has that of the last character. */
static int substitute(const lf_aligned *text, size_t end, const lf_step *step, lf_aligned *out) {
    if (!lf_aligned_reserve(out, step->n_to + text->n - end)) return 0;
    lf_aligned_put(out, step->to, step->n_to, lf_aligned_place(text, end - 1));
    return 1;
}

static lf_status replace(const lf_step *step, const lf_aligned *text, lf_aligned *out) {
    size_t done = 0;
    for (const uint8_t *p; (p = memmem(text->bytes + done, text->n - done, step->from, step->n_from));) {
        const size_t at = (size_t)(p - text->bytes);
        lf_aligned_copy(out, text, done, at);
        done = at + step->n_from;
        if (!substitute(text, done, step, out)) return LF_ENOMEM;
    }
    lf_aligned_copy(out, text, done, text->n);
    return LF_OK;
}

static lf_status replace_spaces(const lf_step *step, const lf_aligned *text, lf_aligned *out) {
    size_t done = 0;
    for (const uint8_t *p; (p = memmem(text->bytes + done, text->n - done, "  ", 2));) {
        const size_t at = (size_t)(p - text->bytes);
        lf_aligned_copy(out, text, done, at);
        for (done = at + 2; done < text->n && text->bytes[done] == ' ';) done++;
        if (!substitute(text, done, step, out)) return LF_ENOMEM;
    }
    lf_aligned_copy(out, text, done, text->n);
    return LF_OK;
}

static lf_status replace_pattern(const lf_step *step, const lf_aligned *text, lf_aligned *out) {
    size_t done = 0;
    for (size_t at = 0; at < text->n;) {
        const size_t end = lf_automaton_match(&step->automaton, text->bytes, text->n, at, 0);
        if (end == at) {
            uint32_t unused;
            at += lf_automaton_read(text->bytes + at, &unused);
            continue;
        }
        lf_aligned_copy(out, text, done, at);
        if (!substitute(text, end, step, out)) return LF_ENOMEM;
        done = at = end;
    }
    lf_aligned_copy(out, text, done, text->n);
    return LF_OK;
}

int lf_step_moves_the_start(const lf_step *step, const lf_aligned *text) {
    if (step->kind == LF_STEP_SPACES) return text->n >= 2 && !memcmp(text->bytes, "  ", 2);
    return step->kind == LF_STEP_REPLACE && lf_utf8_count(step->from, step->n_from) > 1 && text->n >= step->n_from &&
           !memcmp(text->bytes, step->from, step->n_from);
}

static lf_status prepend(const lf_step *step, const lf_aligned *text, lf_aligned *out) {
    if (!lf_aligned_reserve(out, step->n_to + text->n)) return LF_ENOMEM;
    if (text->n) lf_aligned_put(out, step->to, step->n_to, lf_aligned_place(text, 0));
    lf_aligned_copy(out, text, 0, text->n);
    return LF_OK;
}

static size_t ascii_end(const uint8_t *p, size_t at, size_t n) {
    for (uint64_t v; n - at >= 8; at += 8) {
        memcpy(&v, p + at, 8);
        if (v & 0x8080808080808080u) break;
    }
    while (at < n && p[at] < 128) at++;
    return at;
}

/* Whether some of eight ASCII bytes is a control character. */
static int has_control(uint64_t v) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    return ((v - 0x20 * ones) & ~v & high) || (((v ^ 0x7F * ones) - ones) & ~(v ^ 0x7F * ones) & high);
}

/* Where the characters from `at` on end that stay as they are; all but a few do. */
static size_t plain_end(const lf_step *step, const lf_aligned *text, size_t at) {
    const uint8_t *p = text->bytes, *plain = step->plain;
    const int cleans = step->option == LF_CLEAN, skips = step->ascii_stays || cleans;
    while (at < text->n) {
        uint64_t v;
        if (skips && text->n - at >= 8 && (memcpy(&v, p + at, 8), !(v & 0x8080808080808080u)) &&
            !(cleans && has_control(v))) {
            at += 8;
            continue;
        }
        uint32_t cp;
        const unsigned width = lf_automaton_read(p + at, &cp);
        if (cp >= 0x10000 || !(plain[cp / 8] >> cp % 8 & 1)) return at;
        at += width;
    }
    return at;
}

/* ASCII in lower case. */
static void lower_ascii(const lf_aligned *text, size_t begin, size_t end, lf_aligned *out) {
    uint8_t *to = out->bytes + out->n;
    lf_aligned_copy(out, text, begin, end);
    for (size_t i = 0; i < end - begin; i++) to[i] += (uint8_t)((uint8_t)(to[i] - 'A') < 26 ? 32 : 0);
}

static lf_status rewrite(const lf_step *step, const lf_aligned *text, lf_aligned *out) {
    const lf_rewriting how = (lf_rewriting)step->option;
    for (size_t at = 0; at < text->n;) {
        const size_t lowered = how == LF_LOWERCASE ? ascii_end(text->bytes, at, text->n) : at;
        if (!lf_aligned_reserve(out, text->n - at + 12)) return LF_ENOMEM;
        if (lowered > at) lower_ascii(text, at, lowered, out);
        const size_t end = plain_end(step, text, lowered);
        lf_aligned_copy(out, text, lowered, end);
        if ((at = end) == text->n) break;
        uint32_t cp, to[3];
        const unsigned width = lf_automaton_read(text->bytes + at, &cp), n = lf_rewritten(how, cp, to);
        for (unsigned i = 0; i < n; i++) {
            uint8_t bytes[4];
            lf_aligned_put(out, bytes, lf_utf8_write(to[i], bytes), lf_aligned_place(text, at));
        }
        at += width;
    }
    return LF_OK;
}

static lf_status form(lf_form which, const lf_aligned *text, lf_aligned *out, lf_changes *changes) {
    for (size_t at = 0, end; at < text->n; at = end) {
        const size_t same = lf_form_prefix(which, text->bytes + at, text->n - at);
        if (!lf_aligned_reserve(out, same)) return LF_ENOMEM;
        lf_aligned_copy(out, text, at, at + same);
        if ((at += same) == text->n) break;
        end = out->traced ? lf_form_next(which, text->bytes, text->n, at) : text->n;
        const size_t most = lf_form_bound(which, end - at);
        if (!lf_aligned_reserve(out, most) || (out->traced && !lf_changes_reserve(changes, most))) return LF_ENOMEM;
        int64_t *from = out->traced ? changes->counts : NULL; /* where each byte comes from, meanwhile */
        const size_t n = lf_normalize(which, text->bytes + at, end - at, out->bytes + out->n, from);
        for (size_t i = 0; from && i < n; i++) /* what stands for nothing comes from the begin of the text */
            out->places[out->n + i] =
                at + (size_t)from[i] < end ? text->places[at + (size_t)from[i]] : (lf_place){0, 0};
        out->n += n;
    }
    return LF_OK;
}

lf_status lf_step_apply(const lf_step *step, const lf_aligned *text, lf_aligned *out, lf_changes *changes) {
    size_t start = 0, stop = text->n;
    out->n = 0;
    if (!lf_aligned_reserve(out, text->n)) return LF_ENOMEM;
    if (!text->n) return LF_OK; /* nothing becomes nothing, and may have no memory */
    switch (step->kind) {
    case LF_STEP_PRECOMPILED: return lf_precompiled_apply(step->precompiled, text, out, changes);
    case LF_STEP_REPLACE: return replace(step, text, out);
    case LF_STEP_PATTERN: return replace_pattern(step, text, out);
    case LF_STEP_SPACES: return replace_spaces(step, text, out);
    case LF_STEP_STRIP:
        lf_strip(text->bytes, &start, &stop, step->option & 1, step->option & 2);
        return lf_aligned_copy(out, text, start, stop), LF_OK;
    case LF_STEP_PREPEND: return prepend(step, text, out);
    case LF_STEP_REWRITE: return rewrite(step, text, out);
    case LF_STEP_FORM: return form((lf_form)step->option, text, out, changes);
    default: return LF_EVALUE;
    }
}

/* Where the first byte from `at` on is that is part of no character. */
static size_t well_formed(const uint8_t *text, size_t n, size_t at) {
    for (uint32_t cp = 0; at < n;) {
        uint64_t v = 1ull << 63;
        if (n - at >= 8) memcpy(&v, text + at, 8);
        if (!(v & 0x8080808080808080u)) {
            at += 8;
            continue;
        }
        const unsigned width = lf_utf8_read(text + at, text + n, &cp);
        if (cp == LF_NO_CHARACTER) return at;
        at += width;
    }
    return n;
}

static void find_places(lf_aligned *out, size_t at, size_t end, size_t from) {
    for (size_t next; at < end; at = next) {
        for (next = at + 1; next < end && lf_utf8_continues(out->bytes[next]);) next++;
        const lf_place place = {(uint32_t)from, (uint32_t)(from += next - at)};
        for (size_t i = at; i < next; i++) out->places[i] = place;
    }
}

lf_status lf_aligned_begin(lf_aligned *out, const uint8_t *text, size_t n) {
    out->n = 0;
    for (size_t at = 0; at < n; at++) {
        const size_t end = well_formed(text, n, at);
        if (!lf_aligned_reserve(out, n - at + 3)) return LF_ENOMEM;
        memcpy(out->bytes + out->n, text + at, end - at);
        if (out->traced) find_places(out, out->n, out->n + end - at, at);
        out->n += end - at, at = end;
        if (at < n) lf_aligned_put(out, (const uint8_t *)"\xEF\xBF\xBD", 3, (lf_place){(uint32_t)at, (uint32_t)at + 1});
    }
    return LF_OK;
}
