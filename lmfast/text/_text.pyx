# cython: language_level=3, boundscheck=False, wraparound=False, binding=True, embedsignature=True, freethreading_compatible=True
"""The door to csrc/text: typed arguments in, one kernel call, a status out.

`Encoder` is a compiled tokenizer with its workspaces. It answers the common calls without entering Python, since 50
bytes of text take less time than one Python call; `lmfast.Tokenizer` inherits from it and adds the rest.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_New
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport (
    WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
    PyThread_type_lock,
)
from cpython.ref cimport PyObject
from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove
from posix.unistd cimport read

import os
from codecs import lookup_error as codecs_lookup_error

import numpy as np

from lmfast import _checking
from lmfast._lf cimport LF_EINDEX, LF_ENOMEM, LF_EUTF8, LF_EVALUE, LF_OK, lf_isa, lf_isa_best, lf_status
from lmfast.text._decode cimport lf_decode, lf_decode_size, lf_decoder, lf_decoder_free, lf_decoder_new
from lmfast.text._idle cimport idle_free, idle_give, idle_new, idle_stack, idle_take
from lmfast.text._sentencepiece cimport LF_SP_MOST
from lmfast.text._split cimport (
    LF_SPLIT_CL100K, LF_SPLIT_GPT2, LF_SPLIT_LLAMA3, LF_SPLIT_NONE, LF_SPLIT_O200K, LF_SPLIT_QWEN2, lf_split,
    lf_split_next, lf_unicode, lf_unicode_for,
)

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    object PySequence_GetItem(object sequence, Py_ssize_t i)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_New(Py_ssize_t n, Py_UCS4 largest)
    long PyLong_AsLongAndOverflow(PyObject *number, int *overflow)
    bint PyLong_Check(PyObject *number)

cdef extern from *:
    """
    /* Fills a new list with the ints of a table that the ids number. The table and the ints are too large for the
     * second-level cache, so each is fetched some steps ahead. */
    static void fill_list(PyObject *list, PyObject *table, const uint32_t *ids, size_t n) {
        enum { NEAR = 12, FAR = 24 };
        PyObject **out = ((PyListObject *)list)->ob_item, **ints = ((PyListObject *)table)->ob_item;
        for (size_t i = 0; i < n; i++) {
            if (i + FAR < n) {
                __builtin_prefetch(&ints[ids[i + FAR]]);
                __builtin_prefetch(ints[ids[i + NEAR]], 1);
            }
            PyObject *item = ints[ids[i]];
            Py_INCREF(item);
            out[i] = item;
        }
    }

    /* Where threads run side by side, nobody else may change a list inside. */
    #ifndef Py_BEGIN_CRITICAL_SECTION
    #define Py_BEGIN_CRITICAL_SECTION(object) {
    #define Py_END_CRITICAL_SECTION() }
    #endif

    /* The value of an int that is plain: of type int itself, not negative, and of one digit; else -1. */
    static inline int64_t small_int(PyObject *item) {
        if (!PyLong_CheckExact(item)) return -1;
    #if PY_VERSION_HEX >= 0x030C0000
        const PyLongObject *number = (const PyLongObject *)item;
        return PyUnstable_Long_IsCompact(number) ? PyUnstable_Long_CompactValue(number) : -1;
    #else
        if (Py_SIZE(item) == 1) return ((PyLongObject *)item)->ob_digit[0];
        return Py_SIZE(item) == 0 ? 0 : -1;
    #endif
    }

    /* Reads up to n ints of a list, from `start` on, and returns how many came before the list ended, or before one that
     * is not plain. The slots of 16 bytes that they number are fetched. */
    static Py_ssize_t small_ints(PyObject *list, Py_ssize_t start, Py_ssize_t n, const void *slots, uint32_t *out) {
        Py_ssize_t i = 0;
        Py_BEGIN_CRITICAL_SECTION(list);
        PyObject **items = ((PyListObject *)list)->ob_item + start;
        const Py_ssize_t left = PyList_GET_SIZE(list) - start;
        if (n > left) n = left;
        for (; i < n; i++) {
            const int64_t value = small_int(items[i]);
            if ((uint64_t)value > UINT32_MAX) break;
            __builtin_prefetch((const char *)slots + 16 * value);
            out[i] = (uint32_t)value;
        }
        Py_END_CRITICAL_SECTION();
        return i;
    }
    """
    void fill_list(PyObject *list, PyObject *table, const uint32_t *ids, size_t n)
    Py_ssize_t small_ints(PyObject *list, Py_ssize_t start, Py_ssize_t n, const void *slots, uint32_t *out)
    void PyObject_GC_UnTrack(PyObject *container)

cdef extern from "text/unicode.h" nogil:
    unsigned lf_class_of(const lf_unicode *unicode, uint32_t code_point)

cdef extern from "text/normalize.h" nogil:
    size_t lf_nfc_prefix(const uint8_t *text, size_t n)
    size_t lf_nfc_next(const uint8_t *text, size_t n, size_t at)
    size_t lf_nfc_bound(size_t n)
    size_t lf_nfc(const uint8_t *text, size_t n, uint8_t *out)

cdef extern from "text/pages.h" nogil:
    void lf_pages_advise(void *p, size_t n)

cdef extern from "text/transcode.h" nogil:
    size_t lf_utf8_bound(size_t n, unsigned width)
    size_t lf_utf8_from(const void *characters, unsigned width, size_t n, uint8_t *out, size_t *lone)
    ctypedef struct lf_utf8_progress:
        pass
    ctypedef void lf_utf8_reader(const uint8_t *text, size_t n, unsigned width, void *out, size_t room,
                                 lf_utf8_progress *progress) noexcept nogil
    lf_utf8_reader *lf_utf8_reader_for(lf_isa isa)

cdef extern from "text/bpe.h" nogil:
    ctypedef struct lf_bpe:
        size_t n_tokens
        const uint32_t *ids
        int lacks_bytes
        int all_form
        size_t n_odd
    lf_status lf_bpe_new(lf_bpe **model, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids, size_t n_tokens,
                         const uint32_t *merges, size_t n_merges, int whole_pieces, size_t *where)
    void lf_bpe_free(lf_bpe *model)
    size_t lf_bpe_unknown_byte(const lf_bpe *model, const uint8_t *text, size_t n)
    uint32_t lf_bpe_find(const lf_bpe *model, const uint8_t *bytes, size_t n)
    uint32_t LF_NO_SYMBOL

cdef extern from "text/added.h" nogil:
    ctypedef struct lf_added:
        pass
    ctypedef struct lf_added_match:
        size_t start
        size_t stop
        size_t resume
        size_t space_from
        size_t space_to
        uint32_t id
    lf_status lf_added_new(lf_added **added, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                           const uint8_t *flags, size_t n_tokens, size_t *where)
    void lf_added_free(lf_added *added)
    int lf_added_next(const lf_added *added, const lf_unicode *unicode, const uint8_t *text, size_t n, size_t start,
                      size_t done, const uint8_t *allowed, lf_added_match *match)

cdef extern from "text/rank_file.h" nogil:
    lf_status lf_rank_file_read(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                                uint64_t *hashes, size_t *n_tokens)
    int lf_rank_file_repeats(const uint64_t *hashes, size_t n, uint32_t *slots, size_t n_slots)

cdef extern from "text/bpe_json.h" nogil:
    ctypedef struct lf_span:
        size_t start
        size_t stop
    ctypedef struct lf_bpe_json_tokens:
        const uint8_t *blob
        const int64_t *offsets
        uint32_t *slots
        size_t n_slots
    lf_status lf_bpe_json_find(const uint8_t *text, size_t n, lf_span *vocab, lf_span *merges)
    lf_status lf_bpe_json_vocab(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                                size_t *n_tokens)
    lf_status lf_bpe_json_index(const lf_bpe_json_tokens *tokens, size_t n_tokens)
    int64_t lf_bpe_json_token(const lf_bpe_json_tokens *tokens, const uint8_t *bytes, size_t n)
    lf_status lf_bpe_json_merges(const lf_bpe_json_tokens *tokens, size_t n_tokens, const uint8_t *text, size_t n,
                                 uint8_t *scratch, uint32_t *pairs, uint32_t *made, size_t *n_merges)

cdef extern from "text/decode.h" nogil:
    enum:
        LF_BEYOND_ASCII
        LF_BEYOND_LATIN1
        LF_BEYOND_BMP
    ctypedef struct lf_decoded:
        size_t n_characters
        unsigned flags
    lf_status lf_decode_measure(const lf_decoder *decoder, const uint32_t *ids, size_t n, lf_decoded *sum, size_t *where)
    lf_status lf_decode_some(const lf_decoder *decoder, const uint32_t *ids, size_t n, uint8_t *out, size_t room,
                             size_t *n_done, size_t *n_bytes)
    void lf_decode_measure_bytes(const uint8_t *bytes, size_t n, lf_decoded *sum)
    int lf_decode_bytes_text(lf_utf8_reader *reader, const uint8_t *bytes, size_t n, unsigned width, uint32_t largest,
                             void *out, size_t n_characters)
    int lf_decode_text(const lf_decoder *decoder, lf_utf8_reader *reader, const uint32_t *ids, size_t n, unsigned width,
                       uint32_t largest, void *out, size_t n_characters)

cdef extern from "text/encode.h" nogil:
    ctypedef struct lf_stack "struct lf_stack":
        pass
    ctypedef struct lf_text:
        const lf_bpe *model
        const lf_unicode *unicode
        const lf_added *added_raw
        const lf_added *added_normalized
        lf_split split
        int nfc
        const lf_stack *stages
        unsigned doublings
    ctypedef struct lf_allowed:
        const uint8_t *raw
        const uint8_t *normalized
    ctypedef struct lf_text_workspace:
        pass
    ctypedef struct lf_text_ops:
        lf_isa isa
        lf_status (*workspace_new)(lf_text_workspace **w, const lf_text *text, size_t cache_bytes) noexcept nogil
        lf_status (*workspace_join)(lf_text_workspace **w, const lf_text_workspace *owner) noexcept nogil
        void (*workspace_prepare)(lf_text_workspace *w) noexcept nogil
        void (*workspace_free)(lf_text_workspace *w) noexcept nogil
        void (*workspace_enter)(lf_text_workspace *w) noexcept nogil
        void (*workspace_pause)(lf_text_workspace *w) noexcept nogil
        void (*workspace_leave)(lf_text_workspace *w) noexcept nogil
        void (*begin)(lf_text_workspace *w, uint32_t *ids) noexcept nogil
        void (*add)(lf_text_workspace *w, const uint8_t *document, size_t n, lf_allowed allowed,
                    int64_t *count) noexcept nogil
        lf_status (*end)(lf_text_workspace *w, size_t *n_ids) noexcept nogil
        lf_status (*encode_pieces)(lf_text_workspace *w, const uint8_t *bytes, const int64_t *ends, size_t n_pieces,
                                   uint32_t *ids, size_t *n_ids) noexcept nogil
    const lf_text_ops *lf_text_ops_for(lf_isa isa)
    lf_status lf_text_encode(const lf_text_ops *ops, lf_text_workspace *w, const uint8_t *document, size_t n,
                             lf_allowed allowed, uint32_t *ids, size_t *n_ids)
    size_t lf_text_bound(const lf_text *text, size_t n)

cdef extern from "text/staged.h" nogil:
    const lf_text_ops *lf_staged_ops_for(lf_isa isa)

cdef extern from "text/batch.h" nogil:
    enum:
        LF_BATCH_READ
    ctypedef struct lf_text_view:
        const void *data
        size_t n
        unsigned width
    ctypedef struct lf_part:
        size_t number
        size_t first
        size_t n_texts
        size_t from_ "from"
        const lf_text_view *views
        int64_t *counts
        uint32_t *ids
        size_t n_ids
        uint8_t *bytes
        size_t n_bytes
        size_t bytes_room
    ctypedef struct lf_batch:
        int64_t *counts
        size_t next
        size_t n_taken
        size_t n_ids
        size_t room
        uint32_t *ids
    void lf_batch_begin(lf_batch *b, const lf_text *text, const lf_text_view *views, size_t n_texts, lf_allowed allowed,
                        int64_t *counts)
    void lf_batch_into(lf_batch *b, uint32_t *ids, size_t room)
    void lf_batch_end(lf_batch *b)
    size_t lf_batch_room(const lf_text *text, const lf_text_view *views, size_t n_texts)
    lf_status lf_batch_take(lf_batch *b, lf_part **part)
    lf_part *lf_batch_done(lf_batch *b, lf_part *part)
    void lf_batch_copy(const lf_batch *b, const lf_part *list)
    void lf_batch_give(lf_batch *b, lf_part *list)
    void lf_batch_begin_files(lf_batch *b, const lf_text *text, const uint8_t *mark, size_t n_mark, size_t n_bytes,
                              lf_allowed allowed)
    lf_part *lf_batch_read_begin(lf_batch *b)
    lf_status lf_batch_find(lf_batch *b, lf_part *part, int at_end)
    lf_status lf_batch_read_end(lf_batch *b, lf_part *part)

cdef object empty = np.empty
cdef object nothing_allowed = ()
cdef bint checking = _checking.on  # a copy: the reference is to run beside the kernels


def watch(bint on):
    """Tells this module whether calls are checked."""
    global checking
    checking = on


_checking.hooks.append(watch)
cdef object replace = "replace"
cdef object uint32 = np.dtype(np.uint32)
ISA_NAMES = ("generic", "avx2", "avx512")
SPLITTERS = {"none": LF_SPLIT_NONE, "gpt2": LF_SPLIT_GPT2, "cl100k": LF_SPLIT_CL100K, "llama3": LF_SPLIT_LLAMA3,
             "qwen2": LF_SPLIT_QWEN2, "o200k": LF_SPLIT_O200K}


def isas():
    """The instruction sets that this build and this machine have, the plainest first."""
    return [ISA_NAMES[i] for i in range(<int>lf_isa_best() + 1) if lf_text_ops_for(<lf_isa>i) != NULL]


def isa_best():
    """The instruction set in use: the best one, or the one that LMFAST_ISA names."""
    name = os.environ.get("LMFAST_ISA") or ISA_NAMES[<int>lf_isa_best()]
    if name not in isas():
        raise ValueError(f"LMFAST_ISA={name!r} is not available here; available: {', '.join(isas())}")
    return name


def unicode_class(unsigned int code_point, int major=16):
    """The class bits of a code point; see csrc/text/unicode.h."""
    cdef const lf_unicode *unicode = lf_unicode_for(major)
    if unicode == NULL:
        raise ValueError(f"Unicode {major} is not available; available: 16")
    if code_point > 0x10FFFF:
        raise ValueError(f"code point {code_point} is outside [0, 1114111]")
    return lf_class_of(unicode, code_point)


def nfc(const uint8_t[::1] text not None):
    """Unicode normalization form C of UTF-8 bytes."""
    cdef size_t n = <size_t>text.shape[0], n_out
    if n == 0:
        return b""
    cdef uint8_t *out = <uint8_t *>malloc(lf_nfc_bound(n))
    if out == NULL:
        raise MemoryError(f"no memory for {lf_nfc_bound(n)} bytes")
    try:
        with nogil:
            n_out = lf_nfc(&text[0], n, out)
        return PyBytes_FromStringAndSize(<char *>out, <Py_ssize_t>n_out)
    finally:
        free(out)


def nfc_segments(const uint8_t[::1] text not None):
    """Where the parts of UTF-8 bytes that normalize on their own end, as a list of offsets."""
    cdef size_t n = <size_t>text.shape[0], at = 0
    ends = []
    while at < n:
        at = lf_nfc_next(&text[0], n, at)
        ends.append(at)
    return ends


def read_rank_lines(bytes text not None):
    """The tokens of a .tiktoken file that ends without a line end, in its order: (uint32[n] ids, int64[n + 1] offsets,
    bytes, uint64[n] hashes that are equal for equal tokens); None where a line is not right."""
    cdef size_t n = <size_t>len(text), n_lines = <size_t>text.count(b"\n") + 1, n_tokens = 0
    blob, offsets = empty(n + 1, np.uint8), empty(n_lines + 1, np.int64)
    ids, hashes = empty(n_lines, uint32), empty(n_lines, np.uint64)
    cdef uint8_t[::1] blob_out = blob
    cdef int64_t[::1] offsets_out = offsets
    cdef uint32_t[::1] ids_out = ids
    cdef uint64_t[::1] hashes_out = hashes
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(text)
    cdef lf_status status
    with nogil:
        status = lf_rank_file_read(data, n, &blob_out[0], &offsets_out[0], &ids_out[0], &hashes_out[0], &n_tokens)
    return None if status != LF_OK else (ids, offsets, blob[:offsets[n_tokens]].tobytes(), hashes)


def find_bpe_json(bytes text not None):
    """Where the values of model.vocab and model.merges stand in a tokenizer.json, as two slices; None where they are not
    to be found, or stand twice. The text need not be JSON."""
    cdef lf_span vocab, merges
    cdef lf_status status = lf_bpe_json_find(<const uint8_t *>PyBytes_AS_STRING(text), <size_t>len(text), &vocab, &merges)
    return (slice(vocab.start, vocab.stop), slice(merges.start, merges.stop)) if status == LF_OK else None


def read_bpe_json(const uint8_t[::1] vocab not None, const uint8_t[::1] merges not None, list contents not None):
    """A vocabulary in stand-ins for bytes and its merges: (uint32[n] ids, which increase, int64[n + 1] offsets, bytes,
    uint32[m, 2] numbers of the tokens that merge, uint32[m] numbers of what they make, numbers of the tokens that have
    these contents in bytes, each -1 if none has); None where anything is not as usual."""
    cdef size_t n_vocab = <size_t>vocab.shape[0], n_merges = <size_t>merges.shape[0], n = 0, m = 0
    ids, offsets = empty(n_vocab // 6 + 1, uint32), empty(n_vocab // 6 + 2, np.int64)
    pairs, made = empty((n_merges // 6 + 1, 2), uint32), empty(n_merges // 6 + 1, uint32)
    cdef uint32_t[::1] ids_out = ids, made_out = made, slots
    cdef uint32_t[:, ::1] pairs_out = pairs
    cdef int64_t[::1] offsets_out = offsets
    blob = empty(n_vocab + 1, np.uint8)
    cdef uint8_t[::1] blob_out = blob, scratch = empty(n_merges + 1, np.uint8)
    if n_vocab == 0 or n_merges == 0 or lf_bpe_json_vocab(&vocab[0], n_vocab, &blob_out[0], &offsets_out[0],
                                                          &ids_out[0], &n) != LF_OK:
        return None
    slots = np.zeros(1 << (2 * n).bit_length(), uint32)
    cdef lf_bpe_json_tokens tokens = lf_bpe_json_tokens(&blob_out[0], &offsets_out[0], &slots[0], <size_t>slots.shape[0])
    if lf_bpe_json_index(&tokens, n) != LF_OK or lf_bpe_json_merges(
            &tokens, n, &merges[0], n_merges, &scratch[0], &pairs_out[0, 0], &made_out[0], &m) != LF_OK:
        return None
    found = [lf_bpe_json_token(&tokens, <const uint8_t *>PyBytes_AS_STRING(content), <size_t>len(<bytes>content))
             for content in contents]
    return ids[:n], offsets[:n + 1], blob[:offsets[n]].tobytes(), pairs[:m], made[:m], found


def may_repeat(const uint64_t[::1] hashes not None):
    """Whether two of the hashes of `read_rank_lines` may be equal."""
    cdef size_t n = <size_t>hashes.shape[0]
    cdef int found
    if n == 0:
        return False
    cdef uint32_t[::1] slots = np.zeros(1 << (2 * <object>n).bit_length(), uint32)
    with nogil:
        found = lf_rank_file_repeats(&hashes[0], n, &slots[0], <size_t>slots.shape[0])
    return found != 0


def split(str splitter, const uint8_t[::1] text not None):
    """Where the pieces of UTF-8 bytes end by a hand-written splitter, as a list of offsets."""
    cdef lf_split kind = SPLITTERS[splitter]
    cdef const lf_unicode *unicode = lf_unicode_for(16)
    cdef size_t n = <size_t>text.shape[0], at = 0
    ends = []
    while at < n:
        at = lf_split_next(kind, unicode, &text[0], n, at)
        ends.append(at)
    return ends


cdef struct slot:
    # a workspace and what a call with it needs besides
    lf_text_workspace *workspace
    uint8_t *text
    size_t n_text
    uint32_t *ids
    size_t n_ids
    slot *joined  # the next of those whose workspaces use the tables of this one


cdef struct growing:
    # the bytes of a text, and what its characters need
    uint8_t *data
    size_t n, room
    lf_decoded sum


cdef inline Py_UCS4 largest_of(unsigned flags):
    if not flags:
        return 0x7F
    return 0x10FFFF if flags & LF_BEYOND_BMP else 0xFFFF if flags & LF_BEYOND_LATIN1 else 0xFF


cdef inline void view_str(object text, lf_text_view *view):
    view.data = PyUnicode_DATA(text)
    view.n = <size_t>PyUnicode_GET_LENGTH(text)
    view.width = 0 if PyUnicode_IS_ASCII(text) else <unsigned>PyUnicode_KIND(text)


cdef int need_text(slot *s, size_t n) noexcept nogil:
    if n <= s.n_text:
        return 1
    free(s.text)
    s.text = <uint8_t *>malloc(n)
    s.n_text = n if s.text != NULL else 0
    return s.text != NULL


cdef int need_ids(slot *s, size_t n) noexcept nogil:
    if n <= s.n_ids:
        return 1
    free(s.ids)
    s.ids = <uint32_t *>malloc(n * sizeof(uint32_t))
    s.n_ids = n if s.ids != NULL else 0
    return s.ids != NULL


cdef int transcode(slot *s, lf_text_view *view, size_t *lone) noexcept nogil:
    # makes the view UTF-8; 0 if there is no memory
    cdef size_t n = view.n
    if not need_text(s, lf_utf8_bound(n, view.width)):
        return 0
    view.n = lf_utf8_from(view.data, view.width, n, s.text, lone)
    if lone[0] == n:
        lone[0] = <size_t>-1
    view.data = s.text
    view.width = 0
    return 1


cdef object too_long(str which):
    # only where tables cut the pieces
    return ValueError(f"text {which} is too long for a split pattern without a name; want at most {LF_SP_MOST} bytes")


cdef class Encoder:
    """A compiled tokenizer: the model, the added tokens, the decoder and a pool of workspaces.

    vocab_*      the model's tokens, in rank order for a rank file: bytes, int64[n + 1] offsets, uint32[n] ids
    merges       uint32[m, 2] pairs of positions in the vocabulary, or None for a rank file
    added        two tuples (raw, normalized) of (content bytes, id, flags)
    splitter     a name in SPLITTERS, or a lmfast.text._stacks.Splitter
    cache_bytes  of the tables of a workspace; there is one for each call that encodes at the same time
    """

    cdef lf_bpe *model
    cdef lf_added *added_raw
    cdef lf_added *added_normalized
    cdef lf_decoder *decoder
    cdef lf_utf8_reader *reader
    cdef lf_text text
    cdef const lf_text_ops *ops
    cdef size_t cache_bytes
    cdef object keep, int_table
    cdef public bint plain
    """Whether the compiled path alone answers a call that asks for nothing special."""
    cdef idle_stack idle

    def __cinit__(self):
        idle_new(&self.idle)

    def __dealloc__(self):
        cdef slot *s = <slot *>idle_take(&self.idle)
        while s != NULL:
            self.drop(s)
            s = <slot *>idle_take(&self.idle)
        idle_free(&self.idle)
        lf_bpe_free(self.model)
        lf_added_free(self.added_raw)
        lf_added_free(self.added_normalized)
        lf_decoder_free(self.decoder)

    def _compile(self, bytes blob not None, const int64_t[::1] offsets not None, const uint32_t[::1] ids not None,
                 const uint32_t[:, ::1] merges, bint whole_pieces, tuple raw not None, tuple normalized not None,
                 splitter not None, bint nfc, size_t cache_bytes, str isa not None, int unicode):
        if self.model != NULL:
            raise ValueError("the tokenizer has been compiled already")
        cdef size_t where = 0
        cdef lf_status status
        cdef bint named = isinstance(splitter, str)
        cdef size_t n_merges = <size_t>merges.shape[0] if merges is not None else 0
        cdef const uint32_t *pairs = NULL
        cdef uint32_t nothing[2]
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(blob)
        if merges is not None:
            pairs = &merges[0, 0] if n_merges else nothing
        if isa not in isas():
            raise ValueError(f"isa {isa!r} is not available here; available: {', '.join(isas())}")
        cdef int number = ISA_NAMES.index(isa)
        self.ops = lf_text_ops_for(<lf_isa>number) if named else lf_staged_ops_for(<lf_isa>number)
        self.reader = lf_utf8_reader_for(<lf_isa>number)
        self.keep = (blob, np.asarray(offsets), np.asarray(ids), splitter)
        self.cache_bytes = cache_bytes
        cdef size_t n_tokens = <size_t>ids.shape[0]
        with nogil:
            status = lf_bpe_new(&self.model, bytes_, &offsets[0], &ids[0], n_tokens, pairs, n_merges, whole_pieces, &where)
        if status == LF_EVALUE and where >= n_tokens + 256:
            raise ValueError(f"{where} tokens and merges are too many: at most {1 << 21} are allowed")
        if status == LF_EVALUE and where >= n_tokens:
            raise ValueError(f"byte 0x{where - n_tokens:02x} is no token: every single byte that UTF-8 has must be")
        if status == LF_EVALUE:
            raise ValueError(f"token {blob[offsets[where]:offsets[where + 1]]!r} appears twice")
        if status == LF_EINDEX:
            raise ValueError(f"merges[{where}] joins tokens whose concatenation is no token")
        if status != LF_OK:
            raise MemoryError("no memory for the model")
        self.added_raw = new_added(raw)
        self.added_normalized = new_added(normalized)
        self.make_decoder(raw + normalized)
        self.text.model = self.model
        self.text.unicode = lf_unicode_for(unicode)
        if self.text.unicode == NULL:
            raise ValueError(f"Unicode {unicode} is not available; available: 16")
        self.text.added_raw = self.added_raw
        self.text.added_normalized = self.added_normalized
        self.text.split = SPLITTERS[splitter if named else "none"]
        if not named:
            self.text.stages = <const lf_stack *>PyCapsule_GetPointer(splitter.stages, "lf_stack")
            self.text.doublings = splitter.doublings
        self.text.nfc = nfc

    cdef int make_decoder(self, tuple added) except -1:
        blob, offsets, ids, _ = self.keep
        all_ids = np.concatenate([ids, np.array([i for _, i, _ in added], np.uint32)])
        lengths = np.array([len(content) for content, _, _ in added], np.int64)
        all_offsets = np.concatenate([offsets, len(blob) + np.cumsum(lengths)]).astype(np.int64)
        blob = blob + b"".join(content for content, _, _ in added)
        self.keep += (blob,)
        cdef const uint32_t[::1] id_view = all_ids
        cdef const int64_t[::1] at = all_offsets
        if lf_decoder_new(&self.decoder, <const uint8_t *>PyBytes_AS_STRING(blob), &at[0], &id_view[0], len(all_ids),
                          <size_t>all_ids.max() + 1) != LF_OK:
            raise MemoryError("no memory for the decoder")
        return 0

    # A thread takes a workspace for the length of a call; the threads of one call share its tables.

    cdef slot *take(self, bint prepare=True) except NULL:
        cdef slot *s = <slot *>idle_take(&self.idle)
        if s != NULL:
            return s
        if self.ops == NULL:
            raise ValueError("the tokenizer has not been compiled")
        s = self.new_slot(NULL)
        if prepare:
            with nogil:
                self.ops.workspace_prepare(s.workspace)
        return s

    cdef slot *new_slot(self, slot *owner) except NULL:
        # with tables of its own where there is no owner
        cdef slot *s = <slot *>malloc(sizeof(slot))
        if s == NULL:
            raise MemoryError("no memory for a workspace")
        s[0] = slot(NULL, NULL, 0, NULL, 0, NULL)
        cdef lf_status status
        with nogil:
            if owner == NULL:
                status = self.ops.workspace_new(&s.workspace, &self.text, self.cache_bytes)
            else:
                status = self.ops.workspace_join(&s.workspace, owner.workspace)
        if status != LF_OK:
            free(s)
            raise MemoryError(f"no memory for a workspace of {self.cache_bytes} bytes")
        return s

    cdef void give(self, slot *s) noexcept:
        cdef slot *each = s
        while each != NULL:
            if each.n_text > 1 << 20:
                free(each.text)
                each.text, each.n_text = NULL, 0
            if each.n_ids > 1 << 18:
                free(each.ids)
                each.ids, each.n_ids = NULL, 0
            each = each.joined
        if not idle_give(&self.idle, s):
            self.drop(s)

    cdef void drop(self, slot *s) noexcept:
        cdef slot *joined
        while s != NULL:  # those with the same tables too
            joined = s.joined
            self.ops.workspace_free(s.workspace)
            free(s.text)
            free(s.ids)
            free(s)
            s = joined

    # One text.

    cdef int prepare(self, slot *s, object text, lf_text_view *view, bint strict) except -1:
        cdef size_t lone = <size_t>-1
        view_str(text, view)
        if view.width:
            if not transcode(s, view, &lone):
                raise MemoryError(f"no memory for the UTF-8 of {view.n} characters")
            if strict and lone != <size_t>-1:
                raise UnicodeEncodeError("utf-8", text, <Py_ssize_t>lone, <Py_ssize_t>lone + 1, "surrogates not allowed")
        return 0

    cdef int refuse_unknown(self, const void *text, size_t n, str where) except -1:
        # only for bytes: a str becomes UTF-8
        cdef size_t at
        if self.model != NULL and self.model.lacks_bytes:
            at = lf_bpe_unknown_byte(self.model, <const uint8_t *>text, n)
            if at < n:
                raise ValueError(f"byte 0x{(<const uint8_t *>text)[at]:02x} at offset {at}{where} is not UTF-8, and this"
                                 f" vocabulary has no token for it")
        return 0

    cdef size_t run(self, slot *s, lf_text_view *view, lf_allowed allowed, uint32_t *ids) except? <size_t>-1:
        # ids is NULL for a count. Without the GIL where that is worth its price.
        cdef const uint8_t *text = <const uint8_t *>view.data
        cdef size_t n_ids = 0
        cdef lf_status status
        if view.n < 4096:
            status = lf_text_encode(self.ops, s.workspace, text, view.n, allowed, ids, &n_ids)
        else:
            with nogil:
                status = lf_text_encode(self.ops, s.workspace, text, view.n, allowed, ids, &n_ids)
        if status == LF_EINDEX:
            raise too_long(f"of {view.n} bytes")
        if status != LF_OK:
            raise MemoryError(f"no memory to encode {view.n} bytes")
        return n_ids

    cdef object encode_view(self, slot *s, lf_text_view *view, lf_allowed allowed, bint as_list):
        cdef size_t bound = lf_text_bound(&self.text, view.n), n_ids
        cdef uint32_t[::1] out
        cdef Py_buffer buffer
        if as_list or bound <= 65536:
            if not need_ids(s, bound):
                raise MemoryError(f"no memory for {bound} ids")
            n_ids = self.run(s, view, allowed, s.ids)
            if as_list:
                return self.int_list(s.ids, n_ids)
            ids = empty(n_ids, uint32)
            PyObject_GetBuffer(ids, &buffer, PyBUF_SIMPLE)  # a memoryview of Cython's costs four times this
            memcpy(buffer.buf, s.ids, n_ids * sizeof(uint32_t))
            PyBuffer_Release(&buffer)
            return ids
        ids = empty(bound, uint32)
        out = ids
        n_ids = self.run(s, view, allowed, &out[0])
        out = None
        ids.resize(n_ids, refcheck=False)
        return ids

    def encode(self, text, *, allowed_special=nothing_allowed, bint add_special_tokens=False, errors=replace):
        """The ids of a text: uint32[n]."""
        if self.plain and not checking and allowed_special is nothing_allowed and not add_special_tokens and errors is replace:
            return self._encode(text, False, False, None, None, False)
        return self._encode_general(text, allowed_special, add_special_tokens, errors)

    def encode_list(self, text, *, allowed_special=nothing_allowed, bint add_special_tokens=False, errors=replace):
        """The ids of a text as a list of ints, taken from a table of ready-made ints.

        The garbage collector does not visit the list. So a list to which something is added that refers back to the list
        is not freed.
        """
        if self.plain and not checking and allowed_special is nothing_allowed and not add_special_tokens and errors is replace:
            return self._encode(text, True, False, None, None, False)
        return self._int_list(self._encode_general(text, allowed_special, add_special_tokens, errors))

    def count(self, text, *, allowed_special=nothing_allowed, errors=replace):
        """How many ids a text has. No ids are built."""
        if self.plain and not checking and allowed_special is nothing_allowed and errors is replace:
            return self._encode(text, False, True, None, None, False)
        return self._count_general(text, allowed_special, errors)

    cpdef _encode(self, text, bint as_list, bint counting, const uint8_t[::1] allowed_raw,
                const uint8_t[::1] allowed_normalized, bint strict):
        """The ids of a str or of bytes, as an array or a list, or only how many there are."""
        cdef lf_allowed allowed = lf_allowed(NULL, NULL)
        if allowed_raw is not None and allowed_raw.shape[0]:
            allowed.raw = &allowed_raw[0]
        if allowed_normalized is not None and allowed_normalized.shape[0]:
            allowed.normalized = &allowed_normalized[0]
        cdef lf_text_view view
        cdef Py_buffer buffer
        cdef bint is_str = isinstance(text, str)
        if not is_str:
            if not isinstance(text, (bytes, bytearray, memoryview)):
                raise TypeError(f"text: want str or bytes, got {type(text).__name__}")
            PyObject_GetBuffer(text, &buffer, PyBUF_SIMPLE)
            view.data, view.n, view.width = buffer.buf, <size_t>buffer.len, 0
        cdef slot *s = NULL
        try:
            s = self.take()
            if is_str:
                self.prepare(s, text, &view, strict)
            else:
                self.refuse_unknown(view.data, view.n, "")
            if counting:
                return self.run(s, &view, allowed, NULL)
            return self.encode_view(s, &view, allowed, as_list)
        finally:
            if not is_str:
                PyBuffer_Release(&buffer)
            if s != NULL:
                self.give(s)

    cdef list int_list(self, const uint32_t *ids, size_t n):
        return list_from(self._ints(), ids, n)

    def _ints(self):
        """The ints up to the largest id, made once: a reference to one costs a sixth of a new object."""
        if self.int_table is None:
            self.int_table = list(range(self.decoder.n_ids))
        return self.int_table

    def _int_list(self, const uint32_t[::1] ids not None):
        """Ids as a list of ints."""
        return self.int_list(&ids[0], <size_t>ids.shape[0]) if ids.shape[0] else []

    def _bound(self, size_t n_bytes):
        """Room for the ids of a text of n bytes."""
        return lf_text_bound(&self.text, n_bytes)

    # What patterns without an automaton need: the steps of a call one by one.

    def _matches(self, bint normalized, const uint8_t[::1] text not None, const uint8_t[::1] allowed):
        """The added tokens found in UTF-8 bytes, raw or normalized ones: a list of (start, stop, id)."""
        cdef const lf_added *added = self.added_normalized if normalized else self.added_raw
        cdef const uint8_t *bits = &allowed[0] if allowed is not None and allowed.shape[0] else NULL
        cdef size_t n = <size_t>text.shape[0], start = 0, done = 0
        cdef lf_added_match match = lf_added_match(0, 0, 0, 0, 0, 0)
        found = []
        while n and added != NULL and lf_added_next(added, self.text.unicode, &text[0], n, start, done, bits, &match):
            found.append((match.start, match.stop, match.id))
            done = match.stop
            start = match.resume
        return found

    def _encode_pieces(self, const uint8_t[::1] text not None, const int64_t[::1] ends not None):
        """The ids of bytes that are already split into pieces, which end at `ends`."""
        cdef size_t n = <size_t>text.shape[0], n_ids = 0
        ids = empty(n + 8, uint32)
        if n == 0:
            return ids[:0].copy()
        self.refuse_unknown(&text[0], n, "")
        cdef uint32_t[::1] out = ids
        cdef lf_status status
        cdef slot *s = self.take()
        try:
            with nogil:
                status = self.ops.encode_pieces(s.workspace, &text[0], &ends[0], <size_t>ends.shape[0], &out[0], &n_ids)
        finally:
            self.give(s)
        if status != LF_OK:
            raise MemoryError(f"no memory to encode {n} bytes")
        out = None
        ids.resize(n_ids, refcheck=False)
        return ids

    # Decoding.

    def _decode(self, const uint32_t[::1] ids not None, errors):
        """The bytes of ids where `errors` is None, else their text."""
        cdef size_t n = <size_t>ids.shape[0]
        cdef const uint32_t *data = &ids[0] if n else NULL
        cdef lf_decoded sum = lf_decoded(0, 0)
        if errors is None:
            return self.decode_bytes_of(data, n)
        self.measure(data, n, &sum)
        return self.decode_text(data, n, sum, errors)

    def _decode_list(self, list ids not None, errors):
        """The same for a list of ints: they become bytes as they are read, and the bytes become the text."""
        cdef uint32_t some[64]
        cdef Py_ssize_t at = 0
        cdef size_t m, measured = 0
        cdef growing text = growing(NULL, 0, 8 * <size_t>len(ids) + 512, lf_decoded(0, 0))
        text.data = <uint8_t *>malloc(text.room)
        try:
            if self.decoder == NULL:
                raise ValueError("the tokenizer has not been compiled")
            if text.data == NULL:
                raise MemoryError(f"no memory for the text of {len(ids)} ids")
            lf_pages_advise(text.data, text.room)
            while at < len(ids):
                m = <size_t>small_ints(<PyObject *>ids, at, 64, self.decoder.slots, some)
                if m == 0:
                    some[0] = self.odd_id(PySequence_GetItem(ids, at), at)
                    m = 1
                self.append(&text, some, m, <size_t>at)
                at += <Py_ssize_t>m
                if text.n - measured >= 4096:  # while they are in the first-level cache
                    lf_decode_measure_bytes(text.data + measured, text.n - measured, &text.sum)
                    measured = text.n
            lf_decode_measure_bytes(text.data + measured, text.n - measured, &text.sum)
            if errors is None:
                return PyBytes_FromStringAndSize(<char *>text.data, <Py_ssize_t>text.n)
            return self.text_of(&text, errors)
        finally:
            free(text.data)

    cdef int append(self, growing *text, const uint32_t *ids, size_t n, size_t first) except -1:
        # adds the bytes of ids, of which the first has that number
        cdef size_t done = 0, m = 0, written = 0
        cdef lf_status status
        cdef uint8_t *more
        while True:
            status = lf_decode_some(self.decoder, ids + done, n - done, text.data + text.n, text.room - text.n - 64, &m,
                                    &written)
            done += m
            text.n += written
            if status != LF_OK:
                return self.refuse_id(ids[done], first + done)
            if done == n:
                return 0
            more = <uint8_t *>realloc(text.data, 2 * text.room)
            if more == NULL:
                raise MemoryError(f"no memory for a text of more than {text.n} bytes")
            text.data = more
            text.room *= 2

    cdef str text_of(self, const growing *source, errors):
        codecs_lookup_error(errors)
        cdef size_t n = source.n, n_characters = source.sum.n_characters
        cdef Py_UCS4 largest = largest_of(source.sum.flags)
        text = PyUnicode_New(<Py_ssize_t>n_characters, largest)
        cdef void *out = PyUnicode_DATA(text)
        cdef unsigned width = <unsigned>PyUnicode_KIND(text)
        cdef int well_formed
        if n <= 16384:
            well_formed = lf_decode_bytes_text(self.reader, source.data, n, width, largest, out, n_characters)
        else:
            with nogil:
                lf_pages_advise(out, n_characters * width)
                well_formed = lf_decode_bytes_text(self.reader, source.data, n, width, largest, out, n_characters)
        return text if well_formed else PyBytes_FromStringAndSize(<char *>source.data, <Py_ssize_t>n).decode("utf-8", errors)

    cdef uint32_t odd_id(self, item, Py_ssize_t where) except? 0:
        # an int that is no plain small one
        cdef int overflow = 0
        if not PyLong_Check(<PyObject *>item):
            raise TypeError(f"ids[{where}]: want an integer, got {item!r}")
        cdef long number = PyLong_AsLongAndOverflow(<PyObject *>item, &overflow)
        if overflow or number < 0 or <size_t>number >= self.decoder.n_ids:
            raise IndexError(f"ids[{where}] = {item} is outside [0, {self.decoder.n_ids})")
        return <uint32_t>number

    cdef int measure(self, const uint32_t *data, size_t n, lf_decoded *sum) except -1:
        cdef size_t where = 0
        cdef lf_status status
        if self.decoder == NULL:
            raise ValueError("the tokenizer has not been compiled")
        if n <= 4096:
            status = lf_decode_measure(self.decoder, data, n, sum, &where)
        else:
            with nogil:
                status = lf_decode_measure(self.decoder, data, n, sum, &where)
        return 0 if status == LF_OK else self.refuse_id(data[where], where)

    cdef int refuse_id(self, uint32_t token, size_t where) except -1:
        raise IndexError(f"ids[{where}] = {token} is no token; ids are in [0, {self.decoder.n_ids})")

    cdef str decode_text(self, const uint32_t *data, size_t n, lf_decoded sum, errors):
        codecs_lookup_error(errors)
        cdef Py_UCS4 largest = largest_of(sum.flags)
        text = PyUnicode_New(<Py_ssize_t>sum.n_characters, largest)
        cdef void *out = PyUnicode_DATA(text)
        cdef unsigned width = <unsigned>PyUnicode_KIND(text)
        cdef int well_formed
        if n <= 4096:
            well_formed = lf_decode_text(self.decoder, self.reader, data, n, width, largest, out, sum.n_characters)
        else:
            with nogil:
                lf_pages_advise(out, sum.n_characters * width)
                well_formed = lf_decode_text(self.decoder, self.reader, data, n, width, largest, out, sum.n_characters)
        return text if well_formed else self.decode_bytes_of(data, n).decode("utf-8", errors)

    cdef bytes decode_bytes_of(self, const uint32_t *data, size_t n):
        cdef size_t n_bytes = 0, where = 0
        cdef lf_status status
        if self.decoder == NULL:
            raise ValueError("the tokenizer has not been compiled")
        with nogil:
            status = lf_decode_size(self.decoder, data, n, &n_bytes, &where)
        if status != LF_OK:
            self.refuse_id(data[where], where)
        cdef bytes result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n_bytes)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(result)
        with nogil:
            lf_pages_advise(out, n_bytes)
            where = lf_decode(self.decoder, data, n, out, n_bytes)
        if where != n_bytes:
            raise RuntimeError("the ids changed while they were decoded")
        return result

    def _token_lengths(self):
        """uint32[n]: the bytes of each id's token; 0 for an id that has none."""
        lengths = empty(self.decoder.n_ids, uint32)
        cdef uint32_t[::1] out = lengths
        memcpy(&out[0], self.decoder.lengths, self.decoder.n_ids * sizeof(uint32_t))
        return lengths

    def _find(self, bytes token not None):
        """The id of the model's token with these bytes, or None."""
        cdef uint32_t t = lf_bpe_find(self.model, <const uint8_t *>PyBytes_AS_STRING(token), <size_t>len(token))
        return None if t == LF_NO_SYMBOL else self.model.ids[t]

    def _properties(self):
        """What the model turned out to be: (every token forms by merging, how many tokens are out of order)."""
        return bool(self.model.all_form), self.model.n_odd


cdef class Batch:
    """Texts for one call of many threads; csrc/text/batch.h has the idea. `Texts` and `Files` are the two kinds.

    After `begin` the threads call `work`, and when all have returned one calls `finish`.
    """

    cdef Encoder encoder
    cdef object allowed_keep, ids_keep
    cdef lf_allowed allowed
    cdef lf_batch batch
    cdef PyThread_type_lock lock
    cdef bint strict, stopped
    cdef public bint shared
    """Whether the threads that work use the same tables."""
    cdef slot *owner   # the workspace whose tables they are, and the next of those with its tables that nobody uses
    cdef slot *unused
    cdef Py_ssize_t n_working
    cdef size_t failed, failed_text, failed_at  # the first part that failed, and where
    cdef int failed_byte
    cdef lf_status status

    def __cinit__(self, Encoder encoder not None, const uint8_t[::1] allowed_raw, const uint8_t[::1] allowed_normalized,
                  *_, **__):
        if encoder.ops == NULL:
            raise ValueError("the tokenizer has not been compiled")
        self.encoder = encoder
        self.allowed_keep = allowed_raw, allowed_normalized
        if allowed_raw is not None and allowed_raw.shape[0]:
            self.allowed.raw = &allowed_raw[0]
        if allowed_normalized is not None and allowed_normalized.shape[0]:
            self.allowed.normalized = &allowed_normalized[0]
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for a lock")

    def __dealloc__(self):
        lf_batch_end(&self.batch)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef lf_part *take(self) noexcept nogil:
        # the next part, by one thread at a time; NULL where there is none, or after `fail`
        return NULL

    def work(self):
        """Encodes parts until there are no more."""
        cdef lf_part *part = NULL
        cdef lf_part *placed = NULL
        cdef slot *s = self.enter()
        try:
            with nogil:
                while True:
                    PyThread_acquire_lock(self.lock, WAIT_LOCK)
                    lf_batch_give(&self.batch, placed)
                    if self.shared:
                        self.encoder.ops.workspace_pause(s.workspace)
                    part = NULL if self.stopped else self.take()
                    PyThread_release_lock(self.lock)
                    if part == NULL:
                        break
                    placed = self.encode(s, part)
                    lf_batch_copy(&self.batch, placed)
        finally:
            self.leave(s)

    cdef slot *enter(self) except NULL:
        # a workspace for one thread
        if not self.shared:
            return self.encoder.take()
        cdef slot *s = NULL
        with nogil:  # who has the lock may be waiting for the GIL
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
        try:
            if self.owner == NULL:
                self.owner = self.unused = self.encoder.take(False)
            s = self.unused
            if s != NULL:
                self.unused = s.joined
            else:
                s = self.encoder.new_slot(self.owner)
                s.joined = self.owner.joined
                self.owner.joined = s
            self.encoder.ops.workspace_enter(s.workspace)
            self.n_working += 1
        finally:
            PyThread_release_lock(self.lock)
        with nogil:
            self.encoder.ops.workspace_prepare(s.workspace)
        return s

    cdef int leave(self, slot *s) except -1:
        if not self.shared:
            self.encoder.give(s)
            return 0
        with nogil:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
        self.encoder.ops.workspace_leave(s.workspace)
        self.n_working -= 1
        if self.n_working == 0:
            self.encoder.give(self.owner)
            self.owner = self.unused = NULL
        PyThread_release_lock(self.lock)
        return 0

    cdef lf_part *encode(self, slot *s, lf_part *part) noexcept nogil:
        # encodes a part and returns those whose place is known now
        cdef lf_text_view view
        cdef size_t i = 0, where = <size_t>-1
        cdef lf_status status = LF_OK
        cdef lf_part *placed = NULL
        self.encoder.ops.begin(s.workspace, part.ids)
        while i < part.n_texts and status == LF_OK:
            view = part.views[i]
            if view.width:
                if not transcode(s, &view, &where):
                    status = LF_ENOMEM
                elif self.strict and where != <size_t>-1:
                    status = LF_EVALUE
            elif self.encoder.model.lacks_bytes:
                where = lf_bpe_unknown_byte(self.encoder.model, <const uint8_t *>view.data, view.n)
                if where < view.n:
                    status = LF_EUTF8
            if status == LF_OK:
                self.encoder.ops.add(s.workspace, <const uint8_t *>view.data, view.n, self.allowed, &part.counts[i])
                i += 1
        if status == LF_OK:
            status = self.encoder.ops.end(s.workspace, &part.n_ids)
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if status == LF_OK:
            placed = lf_batch_done(&self.batch, part)
        else:
            if self.fail(part.number, status):
                self.failed_text, self.failed_at = part.first + i, where + (part.from_ if i == 0 else 0)
                self.failed_byte = (<const uint8_t *>view.data)[where] if status == LF_EUTF8 else 0
            lf_batch_give(&self.batch, part)
        PyThread_release_lock(self.lock)
        return placed

    cdef bint fail(self, size_t number, lf_status status) noexcept nogil:
        # ends the work; of several failures the first in the order of the texts counts, and whether this is it is returned
        self.stopped = True
        if self.status != LF_OK and number >= self.failed:
            return False
        self.failed, self.status = number, status
        return True

    def stop(self):
        """Has threads that are at work take no more parts."""
        with nogil:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            self.stopped = True
            PyThread_release_lock(self.lock)

    cdef int take_into(self, uint32_t[::1] ids) except -1:
        self.ids_keep = ids
        if ids is not None and ids.shape[0]:
            lf_batch_into(&self.batch, &ids[0], <size_t>ids.shape[0])
        self.stopped, self.status = False, LF_OK
        return 0

    def finish(self):
        """How many ids there are. Errors: those of the first text that had any."""
        if self.status == LF_ENOMEM:
            raise MemoryError("no memory to encode a text")
        if self.status == LF_EINDEX:
            raise too_long(f"{self.failed_text} or one soon after it")
        if self.status == LF_EUTF8:
            raise ValueError(f"byte 0x{self.failed_byte:02x} at offset {self.failed_at} of text {self.failed_text} is not"
                             f" UTF-8, and this vocabulary has no token for it")
        if self.batch.ids != NULL and self.batch.n_ids > self.batch.room:
            raise ValueError(f"want room for {self.batch.n_ids} ids, got {self.batch.room}")
        return self.batch.n_ids


cdef class Texts(Batch):
    """A list of str and bytes, which must not change. strict: surrogates without a partner are refused."""

    cdef list texts
    cdef object counts_keep
    cdef lf_text_view *views
    cdef size_t n_texts

    def __cinit__(self, encoder, allowed_raw, allowed_normalized, list texts not None, bint strict):
        cdef Py_ssize_t n = len(texts), i
        self.texts, self.strict = texts, strict
        self.views = <lf_text_view *>malloc(<size_t>(n + 1) * sizeof(lf_text_view))
        if self.views == NULL:
            raise MemoryError(f"no memory for {n} texts")
        self.n_texts = <size_t>n
        for i in range(n):
            item = texts[i]
            if isinstance(item, str):
                view_str(item, &self.views[i])
            else:
                self.views[i] = lf_text_view(PyBytes_AS_STRING(item), <size_t>len(<bytes>item), 0)

    def __dealloc__(self):
        free(self.views)

    def room(self):
        """Room for all ids."""
        return lf_batch_room(&self.encoder.text, self.views, self.n_texts)

    def __len__(self):
        return <Py_ssize_t>self.n_texts

    def size(self):
        """How many characters or bytes the texts have."""
        cdef size_t n = 0, i
        for i in range(self.n_texts):
            n += self.views[i].n
        return n

    def begin(self, uint32_t[::1] ids, int64_t[::1] counts not None):
        """What `work` is to fill: uint32[:] with room for all ids, or None to count only, and int64[n], zeros."""
        if counts.shape[0] != <Py_ssize_t>self.n_texts:
            raise ValueError(f"counts: want {self.n_texts}, got {counts.shape[0]}")
        lf_batch_end(&self.batch)
        lf_batch_begin(&self.batch, &self.encoder.text, self.views, self.n_texts, self.allowed,
                       &counts[0] if self.n_texts else NULL)
        self.counts_keep = counts
        self.take_into(ids)

    cdef lf_part *take(self) noexcept nogil:
        cdef lf_part *part = NULL
        if lf_batch_take(&self.batch, &part) != LF_OK:
            self.fail(self.batch.n_taken, LF_ENOMEM)
        return part

    def finish(self):
        cdef size_t at = self.failed_at
        if self.status == LF_EVALUE:
            raise UnicodeEncodeError("utf-8", self.texts[self.failed_text], <Py_ssize_t>at, <Py_ssize_t>at + 1,
                                     f"surrogates not allowed (in text {self.failed_text})")
        return Batch.finish(self)


cdef class Files(Batch):
    """The documents of files, read as they are encoded.

    files   (descriptor, bytes) of one file after another, to be had by next(); no more than so many bytes of it are read
    mark    what separates documents; None: a file is one
    n_bytes of all files, at most
    """

    cdef object files, error
    cdef bytes mark
    cdef int descriptor  # -1: none is open
    cdef bint ended
    cdef size_t left

    def __cinit__(self, encoder, allowed_raw, allowed_normalized, files, bytes mark, size_t n_bytes):
        self.files, self.mark, self.descriptor = files, mark, -1
        lf_batch_begin_files(&self.batch, &self.encoder.text,
                             <const uint8_t *>PyBytes_AS_STRING(mark) if mark is not None else NULL,
                             <size_t>len(mark) if mark is not None else 0, n_bytes, self.allowed)

    def begin(self, uint32_t[::1] ids):
        """What `work` is to fill: uint32[:] with room for all ids, or None to count only."""
        self.take_into(ids)

    cdef bint open_next(self) noexcept with gil:
        # false where there is none, or where it cannot be opened
        try:
            self.descriptor, self.left = next(self.files, (-1, 0))
        except BaseException as error:
            self.error = error
            self.descriptor = -1
        self.ended = self.descriptor < 0
        return not self.ended

    cdef void refuse(self, int error) noexcept with gil:
        self.error = OSError(error, os.strerror(error))

    cdef lf_part *take(self) noexcept nogil:
        cdef lf_part *part
        cdef Py_ssize_t n
        cdef lf_status status = LF_OK
        if self.ended:
            return NULL
        part = lf_batch_read_begin(&self.batch)
        if part == NULL:
            self.fail(self.batch.n_taken, LF_ENOMEM)
            return NULL
        while status == LF_OK and (part.n_texts == 0 or part.n_bytes < LF_BATCH_READ):
            if self.descriptor < 0 and not self.open_next():
                break
            n = read(self.descriptor, part.bytes + part.n_bytes,
                     min(part.bytes_room - part.n_bytes, self.left, <size_t>LF_BATCH_READ))
            if n < 0 and errno != EINTR:
                self.refuse(errno)
                self.ended = True
                break
            if n >= 0:
                part.n_bytes += <size_t>n
                self.left -= <size_t>n
                if n == 0 or self.left == 0:
                    self.descriptor = -1
                status = lf_batch_find(&self.batch, part, self.descriptor < 0)
        if status == LF_OK:
            status = lf_batch_read_end(&self.batch, part)
        if status != LF_OK:
            self.fail(self.batch.n_taken, status)
        if status != LF_OK or part.n_texts == 0:
            lf_batch_give(&self.batch, part)
            return NULL
        return part

    def finish(self):
        if self.error is not None:
            raise self.error
        return Batch.finish(self)

    def counts(self):
        """int64[n]: how many ids each document has."""
        counts = np.zeros(self.batch.next, np.int64)
        cdef int64_t[::1] out = counts
        if self.batch.next:
            memcpy(&out[0], self.batch.counts, self.batch.next * sizeof(int64_t))
        return counts


def text_items(texts):
    """A new list of texts that are str or bytes."""
    if isinstance(texts, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"texts: want several texts, got one {type(texts).__name__}; encode([text]) takes a list")
    cdef list items = list(texts)
    cdef Py_ssize_t i
    for i in range(len(items)):
        item = items[i]
        if not isinstance(item, (str, bytes)):
            if not isinstance(item, (bytearray, memoryview)):
                raise TypeError(f"texts[{i}]: want str or bytes, got {type(item).__name__}")
            items[i] = bytes(item)
    return items


cdef lf_added *new_added(tuple tokens) except? NULL:
    # NULL for no tokens
    if not tokens:
        return NULL
    blob = b"".join([content for content, _, _ in tokens])
    cdef int64_t[::1] offsets = np.cumsum([0] + [len(content) for content, _, _ in tokens]).astype(np.int64)
    cdef uint32_t[::1] ids = np.array([i for _, i, _ in tokens], np.uint32)
    cdef uint8_t[::1] flags = np.array([f for _, _, f in tokens], np.uint8)
    cdef lf_added *added = NULL
    cdef size_t where = 0
    cdef lf_status status = lf_added_new(&added, <const uint8_t *>PyBytes_AS_STRING(blob), &offsets[0], &ids[0],
                                         &flags[0], <size_t>len(tokens), &where)
    if status == LF_EVALUE:
        raise ValueError(f"added token {tokens[where][0]!r} appears twice")
    if status != LF_OK:
        raise MemoryError("no memory for the added tokens")
    return added


cdef list list_from(list table, const uint32_t *ids, size_t n):
    # the ints of a table that the ids number, which must be below its length
    cdef list result = PyList_New(<Py_ssize_t>n)
    fill_list(<PyObject *>result, <PyObject *>table, ids, n)
    PyObject_GC_UnTrack(<PyObject *>result)  # the collector would visit every int, again and again
    return result


def lists(list table not None, const uint32_t[::1] ids not None, const int64_t[::1] offsets not None):
    """The rows ids[offsets[i]:offsets[i + 1]] as lists of the ints in `table`. ValueError where it has too few."""
    cdef Py_ssize_t i
    if ids.shape[0] and int(np.asarray(ids).max()) >= len(table):
        raise ValueError(f"ids: want them below {len(table)}, got {int(np.asarray(ids).max())}")
    return [list_from(table, &ids[0] + offsets[i] if ids.shape[0] else NULL, <size_t>(offsets[i + 1] - offsets[i]))
            for i in range(offsets.shape[0] - 1)]


def move(uint32_t[::1] ids not None, Py_ssize_t to, Py_ssize_t start, Py_ssize_t n):
    """ids[to:to + n] = ids[start:start + n], which may overlap."""
    if n:
        with nogil:
            memmove(&ids[to], &ids[start], <size_t>n * sizeof(uint32_t))
