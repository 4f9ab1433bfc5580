// A prompt drawn for each token in training by logits and noise, and the gradient that comes back.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "routing/prompts.h"

namespace MIR_ISA {

using mir::DrawArgs;
using mir::DrawGradArgs;

template <class T> void draw_forward(const DrawArgs<T> &a) {
    constexpr int W = Simd<T>::W;
    constexpr int64_t PART = 256;
    using V = Vec<T>;
    const T scale = T(1 / a.temperature), log2e = T(1.4426950408889634074), none = -std::numeric_limits<T>::infinity();
    mir::parallel((a.tokens + PART - 1) / PART, a.threads, [&](int64_t part) {
        Buffer<T> scores(whole_vectors<T>(a.prompts), none);
        for (int64_t t = part * PART; t < std::min(a.tokens, (part + 1) * PART); t++) {
            for (int64_t i = 0; i < a.prompts; i += W) {
                const int lanes = lanes_at<T>(i, a.prompts);
                const V e = load(a.noise + t * a.prompts + i, lanes), l = load(a.logits + t * a.prompts + i, lanes);
                store(&scores[i], (l * log2e - log2v(e)) * scale, lanes);
            }
            const int64_t label = first_largest(scores.data(), a.prompts);
            a.label[t] = label;
            std::copy(a.pool + label * a.width, a.pool + (label + 1) * a.width, a.prompt + t * a.width);
            if (!a.soft) continue;
            V total = {};
            for (int64_t i = 0; i < a.prompts; i += W) {
                const V p = exp2v(load(&scores[i]) - scores[label]);
                total += p;
                store(a.soft + t * a.prompts + i, p, lanes_at<T>(i, a.prompts));
            }
            const T factor = 1 / sum<T>(total);
            for (int64_t i = 0; i < a.prompts; i++) a.soft[t * a.prompts + i] *= factor;
        }
    });
}

// The straight-through gradient: the logits get that of the softmax, the pool that of the prompts drawn.
template <class T> void draw_backward(const DrawGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const DrawArgs<T> &a = g.forward;
    const int64_t wide = whole_vectors<T>(a.prompts);
    Buffer<T> columns(a.width * wide);  // the pool transposed, zeros behind
    for (int64_t p = 0; p < a.prompts; p++)
        for (int64_t n = 0; n < a.width; n++) columns[n * wide + p] = a.pool[p * a.width + n];
    const T scale = T(1 / a.temperature);
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        Buffer<T> ds(wide);
        T *dpool = g.dpool + part * a.prompts * a.width;
        std::fill(dpool, dpool + a.prompts * a.width, T(0));
        for (int64_t t = part * a.tokens / g.parts; t < (part + 1) * a.tokens / g.parts; t++) {
            const T *dprompt = g.dprompt + t * a.width, *soft = a.soft + t * a.prompts;
            T *to = dpool + a.label[t] * a.width;
            for (int64_t n = 0; n < a.width; n++) to[n] += dprompt[n];
            V along = {};
            for (int64_t i = 0; i < a.prompts; i += W) {
                V d = {};
                for (int64_t n = 0; n < a.width; n++) d += load(&columns[n * wide + i]) * dprompt[n];
                store(&ds[i], d);
                along += d * load(soft + i, lanes_at<T>(i, a.prompts));
            }
            const T mean = sum<T>(along);
            for (int64_t i = 0; i < a.prompts; i += W) {
                const int lanes = lanes_at<T>(i, a.prompts);
                store(g.dlogits + t * a.prompts + i, (load(&ds[i]) - mean) * load(soft + i, lanes) * scale, lanes);
            }
        }
    });
}

}  // namespace MIR_ISA
