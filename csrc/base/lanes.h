// Across the lanes of vectors: transposing them and adding them up.
#pragma once
#include <cstring>
#include <utility>

#include "base/vector.h"

namespace MIR_ISA {

// The lanes of a and b, one after the other, that are numbered.
template <class T, int... I> inline Vec<T> shuffled(Vec<T> a, Vec<T> b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, I...);
#else
    return __builtin_shuffle(a, b, typename Simd<T>::I{I...});
#endif
}

// Rows become columns: blocks of H lanes change places across the diagonal, then half of that.
template <class T, int H, int... I> inline void swap_blocks(Vec<T> *v, std::integer_sequence<int, I...> lanes) {
    constexpr int W = Simd<T>::W;
    for (int i = 0; i < W; i++) {
        if (i & H) continue;
        const Vec<T> a = v[i], b = v[i + H];
        v[i] = shuffled<T, (I & H ? W + I - H : I)...>(a, b);
        v[i + H] = shuffled<T, (I & H ? W + I : I + H)...>(a, b);
    }
    if constexpr (H > 1) swap_blocks<T, H / 2>(v, lanes);
}
template <class T> inline void transpose(Vec<T> (&v)[Simd<T>::W]) {
    swap_blocks<T, Simd<T>::W / 2>(v, std::make_integer_sequence<int, Simd<T>::W>{});
}

// f of all lanes, by halves.
template <class T, int W> struct Halves {
    typedef T V __attribute__((vector_size(W * sizeof(T))));
    template <class F> static T fold(V v, F &&f) {
        typename Halves<T, W / 2>::V low, high;
        std::memcpy(&low, &v, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char *>(&v) + sizeof low, sizeof high);
        return Halves<T, W / 2>::fold(f(low, high), f);
    }
};
template <class T> struct Halves<T, 2> {
    typedef T V __attribute__((vector_size(2 * sizeof(T))));
    template <class F> static T fold(V v, F &&f) { return f(T(v[0]), T(v[1])); }
};
template <class T> inline T sum(Vec<T> v) {
    return Halves<T, Simd<T>::W>::fold(v, [](auto a, auto b) { return a + b; });
}
#if MIR_BYTES == 64
template <> inline float sum<float>(Vec<float> v) { return _mm512_reduce_add_ps(v); }
template <> inline double sum<double>(Vec<double> v) { return _mm512_reduce_add_pd(v); }
#endif

// One step of adding up lanes. a and b are groups of G lanes; the result has a group of G/2 for each, of a first, with
// its sum.
template <class T, int G, int... I> inline Vec<T> fold(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    constexpr int W = Simd<T>::W, H = G / 2, groups = W / G;
    return shuffled<T, ((I / H < groups ? 0 : W) + I / H % groups * G + I % H)...>(a, b) +
           shuffled<T, ((I / H < groups ? H : W + H) + I / H % groups * G + I % H)...>(a, b);
}

// The sums of M vectors, a power of two up to the lanes, in the first M lanes; half the work of M sums of one.
template <class T, int M, int G = Simd<T>::W> inline Vec<T> sums(Vec<T> *v) {
    constexpr auto lanes = std::make_integer_sequence<int, Simd<T>::W>{};
    if constexpr (M > 1) {
        for (int i = 0; i < M / 2; i++) v[i] = fold<T, G>(v[2 * i], v[2 * i + 1], lanes);
        return sums<T, M / 2, G / 2>(v);
    } else if constexpr (G > 1) {
        v[0] = fold<T, G>(v[0], v[0], lanes);
        return sums<T, 1, G / 2>(v);
    } else {
        return v[0];
    }
}

}  // namespace MIR_ISA
