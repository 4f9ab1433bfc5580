// A block of channels of the selective scan: channels along the lanes of a vector, states in registers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/vector.h"

namespace MIR_ISA {

using mir::MAX_RANK;
using mir::MAX_STATES;
using mir::SCAN_CHUNK;
using mir::ScanArgs;

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
    V A2[N_MAX];                  // A log2(e), so that exp is exp2
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
        to.count = (int)std::min<int64_t>(STEPS, i1 - i0),
        to.next_count = (int)std::min<int64_t>(STEPS, i1 - i0 - to.count);
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
        for (int j = 0; j < ahead.count; j++)
            us[j] = load(a.u + ahead.token[j] * a.u_stride + c0, lanes), deltas[j] = step(ahead.token[j]);
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

}  // namespace MIR_ISA
