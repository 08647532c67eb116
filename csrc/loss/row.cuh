/* row.cuh - what one row of logits is to the threads that share it, and the mathematics of its cross-entropy.
 *
 * The label's logit takes no part in the sums. It is added at the end, so that of a row with p -> 1 the small rest,
 * other = sum of exp(z[c] - max) over c != label, is known exactly, and with it the loss log1p(other / e) and the label's
 * gradient -other / sum, which a subtraction from 1 would lose.
 *
 * With u = x, or tanh(x / softcap), and k = logit_scale, or logit_scale * softcap, z = k * u. The difference z - max is one
 * fused multiply-add, so an offset that all logits have costs no accuracy, however large. */
#ifndef LF_LOSS_ROW_CUH
#define LF_LOSS_ROW_CUH

#include "lf_cuda.h"
#include "loss/label.cuh"
#include "loss/span.cuh"

typedef lf_cuda_cross_entropy Job;

/* What a part of a row adds up to. MAX is that of z. The sums leave the label out, except SMOOTH and WEIGHT.
 *     SUM     exp(z - MAX)                   SMOOTH  w * (z - reference)        WEIGHT  w
 *     TILT    exp(z - MAX) * (z - MAX)       BEATEN  1 for each logit that an argmax prefers to the label's
 * A plain job has no softcap, no weights in its smoothing and wants neither entropy nor `correct`: the first three do. */
enum { MAX, SUM, SMOOTH, WEIGHT, TILT, BEATEN, N_STATS };

template <bool PLAIN> struct Stats {
    enum { n = PLAIN ? SMOOTH + 1 : N_STATS };
    float of[n];
};

template <bool PLAIN> LF_DEVICE Stats<PLAIN> stats_of_nothing() {
    Stats<PLAIN> s = {};
    s.of[MAX] = -CUDART_INF_F;
    return s;
}

/* exp(from - to): what makes sums relative to `from` relative to `to`, which is not smaller. */
LF_DEVICE float shrink(float from, float to) { return from == to ? 1.f : exp_of(F32(), from - to); }

template <bool PLAIN> LF_DEVICE void raise_max(Stats<PLAIN> &s, float max) {
    if (s.of[MAX] == max) return; /* -inf among them, whose difference to itself is no number */
    float by = shrink(s.of[MAX], max);
    if constexpr (!PLAIN) s.of[TILT] = by > 0.f ? times(by, plus(s.of[TILT], times(s.of[MAX] - max, s.of[SUM]))) : 0.f;
    s.of[SUM] = times(s.of[SUM], by);
    s.of[MAX] = max;
}

/* The same bits for (a, b) and (b, a). */
template <bool PLAIN> LF_DEVICE Stats<PLAIN> merged(Stats<PLAIN> a, Stats<PLAIN> b) {
    float max = fmaxf(a.of[MAX], b.of[MAX]);
    raise_max(a, max);
    raise_max(b, max);
    for (int i = SUM; i < Stats<PLAIN>::n; i++) a.of[i] = plus(a.of[i], b.of[i]);
    return a;
}

/* The gradient of column c is (exp(z - max) * (a - b * (z - max)) - smoothing * w[c]) * dz/dx; the label's is at_label. */
struct Gradient {
    float max, a, b, smoothing, at_label;
    bool zero; /* everywhere, whatever the logits (NaN among them): the row is ignored */
};

template <class T, bool PLAIN> struct Row : Span<T> {
    using Span<T>::n, Span<T>::head, Span<T>::n_vectors, Span<T>::n_edges, Span<T>::words, Span<T>::per_vector;
    using Span<T>::vector_column, Span<T>::edge_column, Span<T>::each;

    const Job &job;
    int64_t index;
    char *g;                      /* where the gradient goes; NULL where none is wanted */
    int label;                    /* -1: the row is ignored or bad */
    int label_vector, label_lane; /* where its logit is; label_vector -1: not in a vector */
    bool out_of_range, ignored, bad;
    float k, inverse_cap; /* inverse_cap 0: no softcap */
    float label_x, label_u, label_z;
    float reference; /* near z[label], and finite */

    __device__ Row(const Job &job, int64_t index)
        : Span<T>(job.logits, index, job.logits_stride, job.n_classes), job(job), index(index) {
        g = job.gradient ? (char *)job.gradient + index * job.gradient_stride * T::bytes : nullptr;

        bool capped = !PLAIN && job.softcap != 0.f;
        k = capped ? job.logit_scale * job.softcap : job.logit_scale;
        inverse_cap = capped ? 1.f / job.softcap : 0.f;

        const int64_t given = label_of(job, index);
        out_of_range = given != job.ignore_index && (given < 0 || given >= n);
        ignored = given == job.ignore_index || (out_of_range && job.ignore_bad_labels);
        bad = out_of_range && !job.ignore_bad_labels;
        label = ignored || bad ? -1 : (int)given;
        bool in_vector = label >= head && label < head + n_vectors * per_vector;
        label_vector = in_vector ? (label - head) / per_vector : -1;
        label_lane = in_vector ? (label - head) % per_vector : 0;
    }

    /* Nobody asks anything of this row that depends on its logits. */
    __device__ bool is_idle() const {
        return ignored && !job.lse && !job.entropy && !(g && (job.d_lse || job.d_entropy));
    }

    /* Reads the label's logit: to be called before any thread stores gradients, which may be where the logits are. An
     * ignored row has -inf there, which adds nothing; a bad one NaN, which spoils everything. */
    __device__ void look_up_label() {
        label_x = label >= 0 ? T::load(this->at, label) : bad ? CUDART_NAN_F : -CUDART_INF_F;
        label_u = label >= 0 ? u_of(label_x) : label_x;
        label_z = k * label_u;
        reference = fabsf(label_z) < CUDART_INF_F ? label_z : 0.f;
    }

    __device__ float u_of(float logit) const {
        return !PLAIN && inverse_cap != 0.f ? tanhf(logit * inverse_cap) : logit;
    }
    __device__ float slope_of(float u) const {
        return !PLAIN && inverse_cap != 0.f ? job.logit_scale * (1.f - u * u) : job.logit_scale;
    }
    __device__ float weight_of(int column) const { return !PLAIN && job.weight ? job.weight[column] : 1.f; }

    __device__ float load_edge(int j) const { return T::load(this->at, edge_column(j)); }

    /* Adds the vectors first, first + step, ... of which N were asked for and those below n_vectors exist. */
    template <int N> __device__ void add(Stats<PLAIN> &s, uint4 (&v)[N], int first, int step) const {
        auto each_of_all = [&](auto f) {
#pragma unroll
            for (int i = 0; i < N; i++)
                if (first + i * step < n_vectors) each(v[i], first + i * step, f);
        };
        if (job.label_smoothing != 0.f)
            each_of_all([&](float logit, int column) { add_to_smoothing(s, logit, column); });
        if (PLAIN && label_vector >= 0)
#pragma unroll
            for (int i = 0; i < N; i++)
                if (first + i * step == label_vector) v[i] = without_label(v[i]);
        float top = -CUDART_INF_F;
        each_of_all([&](float logit, int column) { top = fmaxf(top, hides(column) ? -CUDART_INF_F : logit); });
        raise_max(s, fmaxf(s.of[MAX], k * u_of(top)));
        float from = offset_of(s), sum[2] = {};
        each_of_all([&](float logit, int column) { sum[column & 1] += exp_without_label(s, logit, column, from); });
        s.of[SUM] += sum[0] + sum[1];
    }

    __device__ void add_one(Stats<PLAIN> &s, float logit, int column) const {
        if (job.label_smoothing != 0.f) add_to_smoothing(s, logit, column);
        if (column == label) return;
        raise_max(s, fmaxf(s.of[MAX], k * u_of(logit)));
        s.of[SUM] += exp_without_label(s, logit, column, offset_of(s));
    }

    __device__ void add_to_smoothing(Stats<PLAIN> &s, float logit, int column) const {
        float w = weight_of(column);
        s.of[SMOOTH] += w * fmaf(k, u_of(logit), -reference);
        if constexpr (!PLAIN) s.of[WEIGHT] += w;
    }

    /* The label's logit leaves the sums: in a plain job as -inf in its place, which costs nothing to those after it; where
     * a softcap makes -inf finite, by a look at each column. */
    __device__ uint4 without_label(uint4 v) const {
        uint32_t word[words] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int lane = 0; lane < per_vector; lane++) {
            const int w = lane / (int)T::per_word, shift = 32 / (int)T::per_word * (lane % (int)T::per_word);
            const uint32_t all = T::per_word == 1 ? 0xffffffffu : 0xffffu;
            if (lane == label_lane) word[w] = (word[w] & ~(all << shift)) | (uint32_t)T::minus_infinity << shift;
        }
        return make_uint4(word[0], word[1], word[2], word[3]);
    }
    __device__ bool hides(int column) const { return !PLAIN && column == label; }

    /* Where there was nothing above -inf, exp(-inf - 0) is the 0 that exp(-inf - -inf) is not. */
    __device__ float offset_of(const Stats<PLAIN> &s) const { return s.of[MAX] == -CUDART_INF_F ? 0.f : s.of[MAX]; }

    __device__ float exp_without_label(Stats<PLAIN> &s, float logit, int column, float from) const {
        float d = fmaf(k, u_of(logit), -from), e = hides(column) ? 0.f : exp_of(T(), d);
        if constexpr (!PLAIN) {
            if (e > 0.f) s.of[TILT] += e * d;
            s.of[BEATEN] += column < label ? logit >= label_x : column > label && logit > label_x;
        }
        return e;
    }

    __device__ float gradient_of(float logit, int column, const Gradient &c) const {
        float u = u_of(logit), d = fmaf(k, u, -c.max), e = exp_of(T(), d);
        if (PLAIN) return fmaf(e, c.a, -c.smoothing);
        float by_softmax = e == 0.f ? 0.f : e * (c.a - c.b * d);
        return (by_softmax - c.smoothing * weight_of(column)) * slope_of(u);
    }

    /* The gradients of vector i go where its logits were, or to the same columns elsewhere. */
    __device__ void store(uint4 v, int i, const Gradient &c) const {
        float gradient[per_vector];
        const int first = vector_column(i);
        each(v, i, [&](float logit, int column) { gradient[column - first] = gradient_of(logit, column, c); });
        Span<T>::store(g, first, gradient);
        if (i == label_vector) T::store(g, label, c.at_label);
    }

    __device__ void store_edge(float logit, int j, const Gradient &c) const {
        const int column = edge_column(j);
        T::store(g, column, column == label ? c.at_label : gradient_of(logit, column, c));
    }

    __device__ void store_zeros(int thread, int n_threads) const {
        const float zeros[per_vector] = {};
        for (int i = thread; i < n_vectors; i += n_threads) Span<T>::store(g, vector_column(i), zeros);
        for (int j = thread; j < n_edges; j += n_threads) T::store(g, edge_column(j), 0.f);
    }

    /* From the sums of the whole row to its results, which one thread writes, and to the gradient of its elements. */
    __device__ Gradient finish(const Stats<PLAIN> &s, bool writes) const {
        float max = fmaxf(s.of[MAX], label_z), by = shrink(s.of[MAX], max);
        float other = s.of[SUM] * by;
        float label_d = fmaf(k, label_u, -max), label_e = expf(label_d);
        float sum = other + label_e, log_sum = logf(sum), lse = max + log_sum;
        float nll = label_z >= s.of[MAX] ? log1pf(other / label_e) : log_sum - label_d;

        float tilt = 0.f, entropy = 0.f, all_weights = (float)n;
        if constexpr (!PLAIN) {
            if (by > 0.f) tilt = by * (s.of[TILT] + (s.of[MAX] == max ? 0.f : (s.of[MAX] - max) * s.of[SUM]));
            if (label_e > 0.f) tilt += label_e * label_d;
            entropy = log_sum - tilt / sum;
            if (job.weight) all_weights = s.of[WEIGHT];
        }

        float w = label >= 0 && job.weight ? job.weight[label] : 1.f;
        float smoothing = job.label_smoothing / (float)n, hard = (1.f - job.label_smoothing) * w;
        if (writes) {
            float loss = hard * nll;
            if (smoothing != 0.f) {
                float from_reference = reference == label_z ? nll : lse - reference;
                loss += smoothing * (all_weights * from_reference - s.of[SMOOTH]);
            }
            if (job.z_loss != 0.f) loss += job.z_loss * lse * lse;
            if (job.loss) job.loss[index] = ignored ? 0.f : loss;
            if (job.lse) job.lse[index] = lse;
            if (job.logprob) job.logprob[index] = ignored ? 0.f : -nll;
            if (job.entropy) job.entropy[index] = entropy;
            if constexpr (!PLAIN) {
                if (job.correct) job.correct[index] = label >= 0 && s.of[BEATEN] == 0.f && label_x == label_x;
            }
        }

        Gradient c = {max, 0.f, 0.f, 0.f, 0.f, false};
        if (!g) return c;
        float upstream = ignored ? 0.f : (float)job.scale;
        if (!ignored && job.upstream) upstream *= *job.upstream;
        if (!ignored && job.row_scale) upstream *= job.row_scale[index];
        if (!ignored && job.divisor) upstream /= *job.divisor;
        float d_lse = job.d_lse ? job.d_lse[index] : 0.f, d_entropy = job.d_entropy ? job.d_entropy[index] : 0.f;
        c.zero = ignored && d_lse == 0.f && d_entropy == 0.f;

        float to_lse = upstream * 2.f * job.z_loss * lse + d_lse + d_entropy * (log_sum - entropy);
        smoothing *= upstream;
        hard *= upstream;
        if (job.d_logprob && !ignored) hard -= job.d_logprob[index]; /* logprob is -nll */
        float rest = smoothing * all_weights + to_lse;
        if (d_entropy != 0.f && label_e > 0.f) rest -= d_entropy * label_d;
        float w_smooth = label >= 0 ? weight_of(label) : 1.f;
        c.at_label = (label_e * rest - hard * other) / sum - smoothing * w_smooth;
        c.at_label *= slope_of(label_u);
        c.a = (hard + smoothing * all_weights + to_lse) / sum;
        c.b = d_entropy / sum;
        c.smoothing = smoothing;
        if (PLAIN) c.a *= job.logit_scale, c.smoothing *= job.logit_scale;
        return c;
    }
};

#endif
