// Selective scan: channels along the vector lanes, states in registers, one pass over the tokens.
#pragma once
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "args.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::MAX_RANK;
using mir::MAX_STATES;
using mir::SCAN_CHUNK;
using mir::ScanArgs;
using mir::ScanGradArgs;

constexpr int64_t PIECES = 8;
constexpr int STEPS = 16;  // that are run at a time; a chunk is some of them
static_assert(SCAN_CHUNK % STEPS == 0, "a chunk begins where some steps do");

// What some steps read that all channels share, brought together: by label the tokens lie anywhere in the image.
template <class T, int N_MAX> struct Ahead {
    int64_t first;
    int count, next_count;
    int64_t token[STEPS], next[STEPS];
    T B[STEPS][N_MAX], C[STEPS][N_MAX];
};

// One block of channels of one image. NS states known to the compiler, or 0.
template <class T, int NS> struct ScanBlock {
    using V = Vec<T>;
    static constexpr int W = Simd<T>::W;
    static constexpr int N_MAX = NS ? NS : MAX_STATES;

    const ScanArgs<T> &a;
    const int any_n, lanes;
    const int64_t b, c0;
    V A2[N_MAX];  // A log2(e), so that exp is exp2
    V D, bias, weight[MAX_RANK];  // of delta, if it has to be made

    ScanBlock(const ScanArgs<T> &args, int64_t image, int64_t block)
        : a(args), any_n((int)args.n), lanes((int)std::min<int64_t>(W, args.channels - block * W)), b(image),
          c0(block * W) {
        for (int s = 0; s < states(); s++) {
            A2[s] = V{};
            for (int l = 0; l < lanes; l++) A2[s][l] = a.A[(c0 + l) * args.n + s] * T(1.4426950408889634074);
        }
        D = load(a.D + c0, lanes);
        bias = load(a.bias + c0, lanes);
        for (int k = 0; a.delta_weight && k < a.rank; k++) {
            weight[k] = V{};
            for (int l = 0; l < lanes; l++) weight[k][l] = a.delta_weight[(c0 + l) * a.rank + k];
        }
    }

    // The number of states, a constant where it can be: then loops unroll and states stay in registers.
    int states() const { return NS ? NS : any_n; }

    int64_t token(int64_t i) const { return b * a.length + (a.order ? a.order[b * a.length + i] : i); }

    V step(int64_t t) const {
        const T *delta = a.delta + t * a.delta_stride;
        V x = bias;
        if (a.delta_weight)
            for (int k = 0; k < a.rank; k++) x += weight[k] * delta[k];
        else
            x += load(delta + c0, lanes);
        return a.softplus ? softplus<T>(x) : x;
    }

    void look_ahead(Ahead<T, N_MAX> &to, int64_t i0, int64_t i1) const {
        const int n = states();
        to.first = i0;
        to.count = (int)std::min<int64_t>(STEPS, i1 - i0), to.next_count = (int)std::min<int64_t>(STEPS, i1 - i0 - to.count);
        for (int j = 0; j < to.next_count; j++) {
            const int64_t t = to.next[j] = token(i0 + STEPS + j);
            __builtin_prefetch(a.B + t * a.B_stride);
            __builtin_prefetch(a.C + t * a.C_stride);
            if (a.delta_weight) __builtin_prefetch(a.delta + t * a.delta_stride);
        }
        for (int j = 0; j < to.count; j++) {
            const int64_t t = to.token[j] = token(i0 + j);
            std::copy(a.B + t * a.B_stride, a.B + t * a.B_stride + n, to.B[j]);
            std::copy(a.C + t * a.C_stride, a.C + t * a.C_stride + n, to.C[j]);
            if (!a.prompt) continue;
            const T *prompt = a.prompt + (b * a.length + i0 + j) * a.prompt_stride;
            for (int s = 0; s < n; s++) to.C[j][s] += prompt[s];
        }
    }
    // The channels of a token may lie across two cache lines.
    void fetch(const T *row) const { __builtin_prefetch(row + c0), __builtin_prefetch(row + c0 + lanes - 1); }

    // Some steps from a state, which becomes the last one. Writes y if asked; returns the sum of the steps.
    template <bool EMIT> V run(const Ahead<T, N_MAX> &ahead, V *state) const {
        const int n = states();
        V h[N_MAX], total = {}, us[STEPS], deltas[STEPS];
        // Apart, since the softplus of one step need not wait for the state of the step before.
        for (int j = 0; j < ahead.count; j++) us[j] = load(a.u + ahead.token[j] * a.u_stride + c0, lanes), deltas[j] = step(ahead.token[j]);
        for (int j = 0; j < ahead.next_count; j++) {
            fetch(a.u + ahead.next[j] * a.u_stride);
            if (!a.delta_weight) fetch(a.delta + ahead.next[j] * a.delta_stride);
            if (a.y != a.u) fetch(a.y + ahead.next[j] * a.channels);
        }
        if (EMIT && a.states && ahead.first % SCAN_CHUNK == 0) keep(ahead.first / SCAN_CHUNK, state);
        for (int s = 0; s < n; s++) h[s] = state[s];
        for (int j = 0; j < ahead.count; j++) {
            const V u = us[j], delta = deltas[j], drive = delta * u;
            V y = D * u;
#pragma GCC unroll 16
            for (int s = 0; s < n; s++) {
                h[s] = exp2v(delta * A2[s]) * h[s] + drive * ahead.B[j][s];
                if (EMIT) y += h[s] * ahead.C[j][s];
            }
            if (EMIT)
                store(a.y + ahead.token[j] * a.channels + c0, y, lanes);
            else
                total += delta;
        }
        for (int s = 0; s < n; s++) state[s] = h[s];
        return total;
    }

    T *kept(int64_t chunk) const {
        const int64_t chunks = (a.length + SCAN_CHUNK - 1) / SCAN_CHUNK;
        return a.states + (b * chunks + chunk) * states() * a.channels + c0;
    }
    void keep(int64_t chunk, const V *h) const {
        for (int s = 0; s < states(); s++) store(kept(chunk) + s * a.channels, h[s], lanes);
    }
    void finish(const V *h) const {
        for (int s = 0; s < states(); s++)
            for (int l = 0; l < lanes; l++) a.last[(b * a.channels + c0 + l) * any_n + s] = h[s][l];
    }
};

// Neighbouring blocks, which go through the tokens together: a row is fetched once for all of them.
template <class T, int NS> struct ScanGroup {
    using V = Vec<T>;
    std::vector<ScanBlock<T, NS>> blocks;
    Ahead<T, ScanBlock<T, NS>::N_MAX> ahead;

    ScanGroup(const ScanArgs<T> &a, int64_t image, int64_t first, int64_t last) {
        for (int64_t block = first; block < last; block++) blocks.emplace_back(a, image, block);
    }
    int64_t size() const { return (int64_t)blocks.size(); }

    // Steps i0 to i1. state: (blocks, n); total: (blocks), to which the steps are added if y is not asked for.
    template <bool EMIT> void run(int64_t i0, int64_t i1, V *state, V *total) {
        for (int64_t i = i0; i < i1; i += STEPS) {
            blocks[0].look_ahead(ahead, i, i1);
            for (int64_t k = 0; k < size(); k++) {
                const V steps = blocks[k].template run<EMIT>(ahead, state + k * blocks[k].states());
                if (!EMIT) total[k] += steps;
            }
        }
    }
};

template <class T, int NS> void scan_forward_states(const ScanArgs<T> &a) {
    constexpr int W = Simd<T>::W;
    const int64_t blocks = (a.channels + W - 1) / W, n = a.n, chunks = (a.length + SCAN_CHUNK - 1) / SCAN_CHUNK;
    const int64_t together = std::clamp<int64_t>(a.threads > 1 ? a.batch * blocks / (2 * a.threads) : blocks, 1, std::max<int64_t>(blocks, 1));
    const int64_t groups = (blocks + together - 1) / together, tasks = a.batch * groups;
    auto group = [&](int64_t task) {
        const int64_t first = task % groups * together;
        return ScanGroup<T, NS>(a, task / groups, first, std::min(first + together, blocks));
    };
    // More threads than groups: cut the tokens into segments, find how each would end from zero, then run
    // them all from their true starts. Segments are whole chunks.
    int64_t segments = 1;
    if (a.threads >= 2 * tasks && tasks > 0) segments = std::min(2 * a.threads / tasks, std::max<int64_t>(1, chunks / 4));
    if (segments <= 1) {
        // Groups that the threads do not divide evenly are cut into pieces, each waiting for the one before it, which some
        // thread has taken by then.
        const int64_t pieces = a.threads > 1 && tasks % a.threads ? std::clamp<int64_t>(chunks, 1, PIECES) : 1;
        Buffer<Vec<T>> states(tasks * together * n, Vec<T>{});
        std::vector<std::atomic<int64_t>> done(tasks);
        mir::parallel(tasks * pieces, a.threads, [&](int64_t i) {
            const int64_t task = i % tasks, piece = i / tasks;
            auto from = [&](int64_t p) { return std::min(chunks * p / pieces * SCAN_CHUNK, a.length); };
            ScanGroup<T, NS> some = group(task);
            while (done[task].load(std::memory_order_acquire) < piece) std::this_thread::yield();
            Vec<T> *h = &states[task * together * n];
            some.template run<true>(from(piece), from(piece + 1), h, nullptr);
            for (int64_t k = 0; piece == pieces - 1 && k < some.size(); k++) some.blocks[k].finish(h + k * n);
            done[task].store(piece + 1, std::memory_order_release);
        });
        return;
    }
    const int64_t per = (chunks + segments - 1) / segments * SCAN_CHUNK;
    auto from = [&](int64_t segment) { return std::min(segment * per, a.length); };
    const int64_t row = together * (n + 1);  // end states and summed steps of one segment
    Buffer<Vec<T>> ends(tasks * segments * row, Vec<T>{});
    mir::parallel(tasks * (segments - 1), a.threads, [&](int64_t i) {
        const int64_t task = i / (segments - 1), segment = i % (segments - 1);
        Vec<T> *end = &ends[(task * segments + segment) * row];
        group(task).template run<false>(from(segment), from(segment + 1), end, end + together * n);
    });
    mir::parallel(tasks * segments, a.threads, [&](int64_t i) {
        const int64_t task = i / segments, segment = i % segments;
        ScanGroup<T, NS> some = group(task);
        Buffer<Vec<T>> h(together * n, Vec<T>{});
        for (int64_t before = 0; before < segment; before++) {
            const Vec<T> *end = &ends[(task * segments + before) * row];
            for (int64_t k = 0; k < some.size(); k++)
                for (int64_t s = 0; s < n; s++)
                    h[k * n + s] = exp2v(end[together * n + k] * some.blocks[k].A2[s]) * h[k * n + s] + end[k * n + s];
        }
        some.template run<true>(from(segment), from(segment + 1), h.data(), nullptr);
        for (int64_t k = 0; segment == segments - 1 && k < some.size(); k++) some.blocks[k].finish(&h[k * n]);
    });
}

template <class T> void scan_forward(const ScanArgs<T> &a) {
    if (a.n == 8)
        scan_forward_states<T, 8>(a);
    else if (a.n == 16)
        scan_forward_states<T, 16>(a);
    else
        scan_forward_states<T, 0>(a);
}

// The sums of n vectors, NS of them if the compiler knows.
template <class T, int NS> inline void store_sums(T *to, Vec<T> *v, int n) {
    constexpr int W = Simd<T>::W, M = NS && NS < W ? NS : W;
    if constexpr (NS && NS % M == 0 && (M & (M - 1)) == 0)
        for (int s = 0; s < NS; s += M) store(to + s, sums<T, M>(v + s), M);
    else
        for (int s = 0; s < n; s++) to[s] = sum<T>(v[s]);
}

// Backward over one block: chunk by chunk from the last, states recomputed from the one kept at its start.
template <class T, int NS> void scan_backward_block(const ScanGradArgs<T> &g, int64_t image, int64_t index) {
    using V = Vec<T>;
    constexpr int N_MAX = ScanBlock<T, NS>::N_MAX;
    const ScanArgs<T> &a = g.forward;
    ScanBlock<T, NS> block(a, image, index);
    const int n = block.states(), lanes = block.lanes;
    const int64_t c0 = block.c0, b = image;
    // Of each step of a chunk: what it reads, h before it and its decay.
    struct Step {
        V u, delta, slope, dy;
        T B[N_MAX], C[N_MAX];
        int64_t token;
    };
    Scratch<Step> steps(SCAN_CHUNK);
    Scratch<V> before(SCAN_CHUNK * n), decays(SCAN_CHUNK * n);
    V dA[N_MAX] = {}, gh[N_MAX] = {}, dD = {}, dbias = {};
    T *dB_part = g.dB + (index * a.batch + b) * a.length * n, *dC_part = g.dC + (index * a.batch + b) * a.length * n;

    for (int64_t chunk = (a.length + SCAN_CHUNK - 1) / SCAN_CHUNK - 1; chunk >= 0; chunk--) {
        const int64_t i0 = chunk * SCAN_CHUNK;
        const int count = (int)std::min<int64_t>(SCAN_CHUNK, a.length - i0);
        for (int i = 0; i < count; i++) {
            Step &step = steps[i];
            const int64_t t = step.token = block.token(i0 + i);
            if (i + STEPS < count) {
                const int64_t later = block.token(i0 + i + STEPS);
                block.fetch(a.u + later * a.u_stride), block.fetch(a.delta + later * a.delta_stride), block.fetch(g.dy + later * a.channels);
                __builtin_prefetch(a.B + later * a.B_stride), __builtin_prefetch(a.C + later * a.C_stride);
            }
            const V raw = load(a.delta + t * a.delta_stride + c0, lanes) + block.bias;
            step.u = load(a.u + t * a.u_stride + c0, lanes);
            step.dy = load(g.dy + t * a.channels + c0, lanes);
            step.delta = a.softplus ? softplus<T>(raw) : raw;
            step.slope = a.softplus ? softplus_slope<T>(raw) : splat<T>(1);
            std::copy(a.B + t * a.B_stride, a.B + t * a.B_stride + n, step.B);
            std::copy(a.C + t * a.C_stride, a.C + t * a.C_stride + n, step.C);
            const T *prompt = a.prompt ? a.prompt + (b * a.length + i0 + i) * a.prompt_stride : nullptr;
            for (int s = 0; prompt && s < n; s++) step.C[s] += prompt[s];
        }
        V h[N_MAX];
        for (int s = 0; s < n; s++) h[s] = load(block.kept(chunk) + s * a.channels, lanes);
        for (int i = 0; i < count; i++) {
            const Step &step = steps[i];
            const V drive = step.delta * step.u;
#pragma GCC unroll 16
            for (int s = 0; s < n; s++) {
                const V decay = exp2v(step.delta * block.A2[s]);
                before[i * n + s] = h[s], decays[i * n + s] = decay;
                h[s] = decay * h[s] + drive * step.B[s];
            }
        }
        for (int i = count - 1; i >= 0; i--) {
            const Step &step = steps[i];
            const int64_t local = step.token - b * a.length;
            const V drive = step.delta * step.u;
            V ddrive = {}, ddelta = {}, dB[N_MAX], dC[N_MAX];
#pragma GCC unroll 16
            for (int s = 0; s < n; s++) {
                const V decay = decays[i * n + s], h0 = before[i * n + s];
                dC[s] = step.dy * (decay * h0 + drive * step.B[s]);
                gh[s] += step.dy * step.C[s];
                dB[s] = gh[s] * drive;
                ddrive += gh[s] * step.B[s];
                const V slope = gh[s] * h0 * decay;
                ddelta += slope * block.A2[s];
                dA[s] += slope * step.delta;
                gh[s] *= decay;
            }
            store_sums<T, NS>(dC_part + local * n, dC, n);
            store_sums<T, NS>(dB_part + local * n, dB, n);
            ddelta = (ddelta * T(0.69314718055994530942) + ddrive * step.u) * step.slope;  // A2 is A log2(e)
            store(g.du + step.token * a.channels + c0, ddrive * step.delta + step.dy * block.D, lanes);
            store(g.ddelta + step.token * a.channels + c0, ddelta, lanes);
            dD += step.dy * step.u;
            dbias += ddelta;
        }
    }
    store(g.dD + b * a.channels + c0, dD, lanes);
    store(g.dbias + b * a.channels + c0, dbias, lanes);
    for (int s = 0; s < n; s++)
        for (int l = 0; l < lanes; l++) g.dA[(b * a.channels + c0 + l) * n + s] = dA[s][l];
}

template <class T> void scan_backward(const ScanGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    const ScanArgs<T> &a = g.forward;
    const int64_t blocks = (a.channels + W - 1) / W;
    mir::parallel(a.batch * blocks, a.threads, [&](int64_t task) {
        const int64_t image = task / blocks, index = task % blocks;
        if (a.n == 8)
            scan_backward_block<T, 8>(g, image, index);
        else if (a.n == 16)
            scan_backward_block<T, 16>(g, image, index);
        else
            scan_backward_block<T, 0>(g, image, index);
    });
}

}  // namespace MIR_ISA
