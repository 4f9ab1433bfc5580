// The gradients of the selective scan.
#pragma once
#include <algorithm>
#include <cstdint>

#include "abi/structs.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "scan/block.h"

namespace MIR_ISA {

using mir::ScanGradArgs;

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
                block.fetch(a.u + later * a.u_stride), block.fetch(a.delta + later * a.delta_stride),
                    block.fetch(g.dy + later * a.channels);
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
