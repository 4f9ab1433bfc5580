// A vector as wide as the instruction set has it: loading, storing, and whole vectors of n values.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__)
#include <immintrin.h>
#define MIR_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define MIR_BYTES 32
#else
#define MIR_BYTES 16
#endif
#if MIR_BYTES == 64 || defined(__aarch64__)
#define MIR_REGISTERS 32
#else
#define MIR_REGISTERS 16
#endif

namespace MIR_ISA {

template <class T> struct Simd;

template <> struct Simd<float> {
    static constexpr int W = MIR_BYTES / 4;
    typedef float V __attribute__((vector_size(MIR_BYTES)));
    typedef int32_t I __attribute__((vector_size(MIR_BYTES)));
};

template <> struct Simd<double> {
    static constexpr int W = MIR_BYTES / 8;
    typedef double V __attribute__((vector_size(MIR_BYTES)));
    typedef int64_t I __attribute__((vector_size(MIR_BYTES)));
};

template <class T> using Vec = typename Simd<T>::V;

template <class T> inline Vec<T> load(const T *p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T> inline void store(T *p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }

// The first `lanes` values, zeros behind.
template <class T> inline Vec<T> load(const T *p, int lanes) {
    if (lanes == Simd<T>::W) return load(p);
    T part[Simd<T>::W] = {};
    std::memcpy(part, p, sizeof(T) * lanes);
    return load(part);
}

template <class T> inline void store(T *p, Vec<T> v, int lanes) {
    if (lanes == Simd<T>::W) return store(p, v);
    T part[Simd<T>::W];  // v itself would have to leave its register, on every path
    store(part, v);
    std::memcpy(p, part, sizeof(T) * lanes);
}

// The first `lanes` values of v, zeros behind.
template <class T> inline Vec<T> first(Vec<T> v, int lanes) {
    for (int l = lanes; l < Simd<T>::W; l++) v[l] = 0;
    return v;
}

// 1 / x, within an ulp or two.
template <class T> inline Vec<T> reciprocal(Vec<T> x) { return 1 / x; }

template <class T> inline Vec<T> square_root(Vec<T> x) {
    for (int l = 0; l < Simd<T>::W; l++) x[l] = std::sqrt(x[l]);
    return x;
}

#if MIR_BYTES == 64
template <> inline Vec<float> square_root<float>(Vec<float> x) { return _mm512_sqrt_ps(x); }
template <> inline Vec<float> first<float>(Vec<float> v, int lanes) {
    return _mm512_maskz_mov_ps((__mmask16)((1u << lanes) - 1), v);
}
template <> inline Vec<float> reciprocal<float>(Vec<float> x) {
    const Vec<float> y = _mm512_rcp14_ps(x);
    return y * (2.0f - x * y);
}
template <> inline Vec<float> load<float>(const float *p, int lanes) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
}
template <> inline void store<float>(float *p, Vec<float> v, int lanes) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), v);
}
#elif MIR_BYTES == 32
inline __m256i lane_mask(int lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
template <> inline Vec<float> square_root<float>(Vec<float> x) { return _mm256_sqrt_ps(x); }
template <> inline Vec<float> first<float>(Vec<float> v, int lanes) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(lane_mask(lanes)));
}
template <> inline Vec<float> load<float>(const float *p, int lanes) {
    return lanes == Simd<float>::W ? load(p) : _mm256_maskload_ps(p, lane_mask(lanes));
}
#endif

template <class T> inline Vec<T> splat(T x) { return Vec<T>{} + x; }

template <class V> inline V vmax(V a, V b) { return a > b ? a : b; }
#if MIR_BYTES == 64
inline Vec<float> vmax(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
inline Vec<float> vmin(Vec<float> a, Vec<float> b) { return _mm512_min_ps(a, b); }
#endif
template <class V> inline V vmin(V a, V b) { return a < b ? a : b; }
#if MIR_BYTES == 32
inline Vec<float> vmax(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<float> vmin(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
#endif

template <class T> inline int64_t whole_vectors(int64_t n) { return (n + Simd<T>::W - 1) / Simd<T>::W * Simd<T>::W; }

// Lanes of the vector at column i of n that hold something.
template <class T> inline int lanes_at(int64_t i, int64_t n) { return (int)std::min<int64_t>(Simd<T>::W, n - i); }

// f(i, lanes) for each vector of n values, the whole ones apart.
template <class T, class F> inline void by_vectors(int64_t n, F &&f) {
    constexpr int W = Simd<T>::W;
    int64_t i = 0;
    for (; i + W <= n; i += W) f(i, std::integral_constant<int, W>{});
    if (i < n) f(i, (int)(n - i));
}

}  // namespace MIR_ISA
