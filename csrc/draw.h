// Prompts drawn in training: noise by counter, a softmax of logits and noise, the prompt of its largest, and what comes back.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "args.h"
#include "linear.h"
#include "parallel.h"
#include "routing.h"
#include "simd.h"

namespace MIR_ISA {

using mir::DrawArgs;
using mir::DrawGradArgs;
using mir::NoiseArgs;

// Steele, Lea and Flood's SplitMix64, whose n-th number needs no other: the upper half of it, in (0, 1).
inline double uniform(uint64_t seed, uint64_t n) {
    uint64_t x = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return ((double)(int64_t)((x ^ (x >> 31)) >> 32) + 0.5) * 0x1p-32;
}

// -log(1 - v), of which v and 1 - v are given as exact as T has them.
inline Vec<float> exponential(Vec<float> v, Vec<float> rest) {
    const Vec<float> s = v * reciprocal<float>(2.0f - v), z = s * s;
    Vec<float> p = splat(2.0f / 11);
    for (int k = 9; k >= 1; k -= 2) p = p * z + 2.0f / k;
    return v < 1.0f / 3 ? p * s : log2v(rest) * -0.693147180559945309f;
}
inline Vec<double> exponential(Vec<double> v, Vec<double>) {
    Vec<double> r;
    for (int i = 0; i < Simd<double>::W; i++) r[i] = -std::log1p(-v[i]);
    return r;
}

template <class T> void noise(const NoiseArgs<T> &a) {
    constexpr int W = Simd<T>::W;
    constexpr int64_t PART = 1 << 14;
    const int64_t parts = (a.count + PART - 1) / PART;
    mir::parallel(a.batch * parts, a.threads, [&](int64_t task) {
        const int64_t image = task / parts, first = task % parts * PART, last = std::min(first + PART, a.count);
        const uint64_t seed = (uint64_t)a.seeds[image];
        for (int64_t i = first; i < last; i += W) {
            double u[W];
            for (int l = 0; l < W; l++) u[l] = uniform(seed, i + l);
            T v[W], rest[W];
            for (int l = 0; l < W; l++) v[l] = (T)u[l], rest[l] = (T)(1 - u[l]);
            store(a.noise + image * a.count + i, exponential(load(v), load(rest)), lanes_at<T>(i, last));
        }
    });
}

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
