// Vectors of one width chosen by the compiler flags, with the few functions the kernels need.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

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

// Scratch that begins on a cache line: a vector across two lines costs two accesses.
template <class T> struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t LINE{64};
    Aligned() = default;
    template <class U> Aligned(const Aligned<U> &) {}
    T *allocate(std::size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), LINE)); }
    void deallocate(T *p, std::size_t) { ::operator delete(p, LINE); }
    template <class U> bool operator==(const Aligned<U> &) const { return true; }
    template <class U> bool operator!=(const Aligned<U> &) const { return false; }
};
template <class T> using Buffer = std::vector<T, Aligned<T>>;

// The same, not filled with zeros.
template <class T> struct Unfilled : Aligned<T> {
    Unfilled() = default;
    template <class U> Unfilled(const Unfilled<U> &) {}
    template <class U> struct rebind {
        using other = Unfilled<U>;
    };
    template <class U> void construct(U *p) { ::new (static_cast<void *>(p)) U; }
};
template <class T> using Scratch = std::vector<T, Unfilled<T>>;

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

template <class T> inline Vec<T> splat(T x) { return Vec<T>{} + x; }

template <class V> inline V vmax(V a, V b) { return a > b ? a : b; }
#if MIR_BYTES == 64
inline Vec<float> vmax(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
#endif
template <class V> inline V vmin(V a, V b) { return a < b ? a : b; }
#if MIR_BYTES == 32
inline Vec<float> vmax(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<float> vmin(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
#endif

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

// One step of adding up lanes. a and b are groups of G lanes; the result has a group of G/2 for each, of a first, with its sum.
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

// 2^f for f in [-1/2, 1/2]: a polynomial of degree 5, 9.2e-8 from true before rounding, and exact at 0.
inline Vec<float> exp2_fraction(Vec<float> f) {
    Vec<float> p = splat(1.326472875e-3f);
    p = p * f + 9.671513182e-3f;
    p = p * f + 5.550733745e-2f;
    p = p * f + 2.402224208e-1f;
    p = p * f + 6.931469776e-1f;
    return p * f + 1.0f;
}

// 2^x; zero below 2^-126.
inline Vec<float> exp2v(Vec<float> x) {
#if MIR_BYTES == 64
    // Denormals would cost an assist each, and masked scores and strong decays are full of them.
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    // Not from the integer below, which scalef would find itself: just under 0 the fraction would lose its digits, and a scan
    // whose decays are close to 1 ten times its accuracy.
    const Vec<float> fraction = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_maskz_scalef_ps(normal, exp2_fraction(fraction), x - fraction);
#else
    typedef Simd<float>::I I;
    const float magic = 12582912.0f;  // 1.5 · 2^23: adding it leaves the nearest integer in the low bits
    auto tiny = x < -126.0f;
    Vec<float> y = vmin(vmax(x, splat(-126.0f)), splat(127.0f));
    Vec<float> t = y + magic;
    I bits = (I)t << 23;
    Vec<float> r = (Vec<float>)((I)exp2_fraction(y - (t - magic)) + bits);
    return tiny ? splat(0.0f) : r;
#endif
}

inline Vec<double> exp2v(Vec<double> x) {
    Vec<double> r;
    for (int i = 0; i < Simd<double>::W; i++) r[i] = std::exp2(x[i]);
    return r;
}

// log(1 + t) for t in [0, 1]: 2 atanh(t / (2 + t)), so that small t keep their digits.
inline Vec<float> log1pv(Vec<float> t) {
    Vec<float> s = t * reciprocal<float>(t + 2.0f), z = s * s;
    Vec<float> p = splat(2.0f / 17);
    for (int k = 15; k >= 1; k -= 2) p = p * z + 2.0f / k;
    return p * s;
}

inline Vec<double> log1pv(Vec<double> t) {
    Vec<double> r;
    for (int i = 0; i < Simd<double>::W; i++) r[i] = std::log1p(t[i]);
    return r;
}

// log2(x) of a positive normal number: the exponent, and 2 atanh((m - 1) / (m + 1)) of a mantissa in [2/3, 4/3].
inline Vec<float> log2v(Vec<float> x) {
    typedef Simd<float>::I I;
    const I exponent = ((I)x - 0x3f2aaaab) >> 23;
    const Vec<float> m = (Vec<float>)((I)x - (exponent << 23)) - 1.0f;
    const Vec<float> s = m * reciprocal<float>(m + 2.0f), z = s * s;
    Vec<float> p = splat(2.0f / 11);
    for (int k = 9; k >= 1; k -= 2) p = p * z + 2.0f / k;
    return __builtin_convertvector(exponent, Vec<float>) + p * s * 1.44269504088896341f;
}

inline Vec<double> log2v(Vec<double> x) {
    Vec<double> r;
    for (int i = 0; i < Simd<double>::W; i++) r[i] = std::log2(x[i]);
    return r;
}

// exp(-|x|)
template <class T> inline Vec<T> exp_minus_abs(Vec<T> x) {
    const T log2e = T(1.4426950408889634074);
    return exp2v((x < 0 ? x : -x) * log2e);
}

// log(1 + exp(x)), and x itself above 20, as torch and the published scan have it.
template <class T> inline Vec<T> softplus(Vec<T> x) {
    Vec<T> y = (x > 0 ? x : Vec<T>{}) + log1pv(exp_minus_abs<T>(x));
    return x > 20 ? x : y;
}

// The derivative of softplus.
template <class T> inline Vec<T> softplus_slope(Vec<T> x) {
    Vec<T> t = exp_minus_abs<T>(x);
    Vec<T> y = (x > 0 ? splat<T>(1) : t) * reciprocal<T>(t + 1);
    return x > 20 ? splat<T>(1) : y;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) {
    Vec<T> t = exp_minus_abs<T>(x);
    return (x > 0 ? splat<T>(1) : t) * reciprocal<T>(t + 1);
}

// The normal distribution function: Abramowitz and Stegun 7.1.26, 7.5e-8 from true; and its density.
template <class T> struct Normal {
    Vec<T> below, density;
};
inline Normal<float> normal(Vec<float> x) {
    const Vec<float> density = exp2v(x * x * -0.72134752044448170f);  // without 1/sqrt(2 pi)
    const Vec<float> t = reciprocal<float>(vmax(x, -x) * 0.23164189f + 1.0f);
    Vec<float> p = splat(0.5307027145f);
    p = p * t - 0.7265760135f;
    p = p * t + 0.7107068705f;
    p = p * t - 0.142248368f;
    p = p * t + 0.127414796f;
    const Vec<float> tail = p * t * density;
    return {x > 0 ? 1.0f - tail : tail, density * 0.39894228040143268f};
}
inline Normal<double> normal(Vec<double> x) {
    Normal<double> r;
    for (int i = 0; i < Simd<double>::W; i++) {
        r.below[i] = std::erfc(x[i] * -0.70710678118654752440) / 2;
        r.density[i] = std::exp(x[i] * x[i] / -2) * 0.39894228040143267794;
    }
    return r;
}

// x · Φ(x), and its derivative.
template <class T> inline Vec<T> gelu(Vec<T> x) { return x * normal(x).below; }
template <class T> inline Vec<T> gelu_slope(Vec<T> x) {
    const Normal<T> n = normal(x);
    return n.below + x * n.density;
}

}  // namespace MIR_ISA
