// Layer norm of some tokens at a time, and its gradient.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/bfloat16.h"
#include "base/lanes.h"
#include "base/vector.h"

namespace MIR_ISA {

// Mean and one over the standard deviation of some values.
template <class T> struct Moments {
    T mean, inverse;
};

// As many tokens at a time as add up their lanes together.
template <class T> constexpr int NORM_TOKENS = std::min(8, Simd<T>::W);

template <class T> struct NormTokens {
    static constexpr int N = NORM_TOKENS<T>;
    using V = Vec<T>;
    const T *x[N];
    T mean[Simd<T>::W], inverse[Simd<T>::W];

    void find(int64_t n, T eps) {
        V total[N] = {}, squares[N] = {};
        by_vectors<T>(n, [&](int64_t i, int lanes) {
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) total[r] += load(x[r] + i, lanes);
        });
        store(mean, sums<T, N>(total) / T(n));
        by_vectors<T>(n, [&](int64_t i, int lanes) {
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) {
                const V d = first<T>(load(x[r] + i, lanes) - mean[r], lanes);
                squares[r] += d * d;
            }
        });
        store(inverse, T(1) / square_root<T>(sums<T, N>(squares) / T(n) + eps));
    }
};

// Moments of n values each of `count` tokens: where(r) is where token r lies.
template <class T, class X> inline void moments(int64_t count, int64_t n, T eps, X &&where, Moments<T> *moment) {
    constexpr int N = NORM_TOKENS<T>;
    for (int64_t r0 = 0; r0 < count; r0 += N) {
        NormTokens<T> t;
        for (int r = 0; r < N; r++) t.x[r] = where(std::min(r0 + r, count - 1));
        t.find(n, eps);
        for (int r = 0; r < N && r0 + r < count; r++) moment[r0 + r] = {t.mean[r], t.inverse[r]};
    }
}

// The same (for `moment` null, not kept), and (x - mean) · inverse · gamma + beta, whole vectors with zeros behind, to
// to(r), of T or rounded.
template <class T, class X, class Y>
inline void normalise(int64_t count, int64_t n, const T *gamma, const T *beta, T eps, X &&where, Y &&to,
                      Moments<T> *moment) {
    constexpr int N = NORM_TOKENS<T>;
    for (int64_t r0 = 0; r0 < count; r0 += N) {
        NormTokens<T> t;
        decltype(to(0)) y[N];
        for (int r = 0; r < N; r++) t.x[r] = where(std::min(r0 + r, count - 1)), y[r] = to(std::min(r0 + r, count - 1));
        t.find(n, eps);
        by_vectors<T>(n, [&](int64_t i, int lanes) {
            const Vec<T> g = load(gamma + i, lanes), b = load(beta + i, lanes);
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) store(y[r] + i, (load(t.x[r] + i, lanes) - t.mean[r]) * t.inverse[r] * g + b);
        });
        for (int r = 0; moment && r < N && r0 + r < count; r++) moment[r0 + r] = {t.mean[r], t.inverse[r]};
    }
}

// d, the gradient of a layer norm's output, becomes that of its input x; both whole vectors with zeros behind.
template <class T>
inline void norm_backward(const T *gamma, int64_t n, Moments<T> m, const T *x, T *d, T *dgamma, T *dbeta) {
    constexpr int W = Simd<T>::W;
    Vec<T> total = {}, along = {};
    for (int64_t i = 0; i < n; i += W) {
        const int lanes = lanes_at<T>(i, n);
        const Vec<T> unit = (load(x + i, lanes) - m.mean) * m.inverse, dv = load(d + i),
                     dn = dv * load(gamma + i, lanes);
        store(dgamma + i, load(dgamma + i) + dv * unit);
        store(dbeta + i, load(dbeta + i) + dv);
        store(d + i, dn);
        total += dn, along += dn * unit;
    }
    const T mean = sum<T>(total) / n, slope = sum<T>(along) / n;
    for (int64_t i = 0; i < n; i += W) {
        const Vec<T> unit = (load(x + i, lanes_at<T>(i, n)) - m.mean) * m.inverse;
        store(d + i, (load(d + i) - mean - unit * slope) * m.inverse);
    }
}

}  // namespace MIR_ISA
