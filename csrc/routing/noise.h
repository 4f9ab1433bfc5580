// Exponential noise by counter: a number needs its seed and its place only.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/parallel.h"

namespace MIR_ISA {

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

}  // namespace MIR_ISA
