// Functions of vectors: exponential, logarithm, softplus, sigmoid, GELU.
#pragma once
#include <cmath>

#include "base/vector.h"

namespace MIR_ISA {

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
    // Not from the integer below, which scalef would find itself: just under 0 the fraction would lose its digits, and
    // a scan whose decays are close to 1 ten times its accuracy.
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

// x · Φ(x), 1.6e-5 from true, or 1e-5 of x: Φ is a polynomial of degree 19 up to 4.5, and 0 or 1 beyond.
inline Vec<float> gelu_near(Vec<float> x) {
    const Vec<float> c = vmin(vmax(x, splat(-4.5f)), splat(4.5f)), z = c * c;
    Vec<float> p = splat(-1.28917059e-12f);
    p = p * z + 1.58611638e-10f;
    p = p * z - 8.72041817e-09f;
    p = p * z + 2.84748722e-07f;
    p = p * z - 6.20686478e-06f;
    p = p * z + 9.64732535e-05f;
    p = p * z - 0.00111506705f;
    p = p * z + 0.00980853941f;
    p = p * z - 0.0662930757f;
    p = p * z + 0.398847342f;
    return x * (p * c + 0.5f);
}

}  // namespace MIR_ISA
