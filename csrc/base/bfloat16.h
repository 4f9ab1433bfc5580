// bfloat16, the upper half of a float: pairs of them are multiplied and added to float sums by one instruction.
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/vector.h"

namespace MIR_ISA {

// What a sum of products adds at a time, for factors of type F: one product of numbers, or those of a pair.
template <class F> struct Step {
    using Factors = F;
    static constexpr int COUNT = 1;
};
template <class F> using Factors = typename Step<F>::Factors;
template <class F> constexpr int64_t steps_of(int64_t n) { return (n + Step<F>::COUNT - 1) / Step<F>::COUNT; }

template <class T> inline void multiply_add(Vec<T> &sum, Vec<T> v, T s) { sum += v * s; }

#if defined(__AVX512BF16__)
struct Bf16 {
    uint16_t bits;
};
// Two numbers that lie side by side, the first in the lower half. They may begin at any number of a row.
struct __attribute__((may_alias, packed, aligned(2))) Pair {
    int32_t bits;
};
template <> struct Step<Bf16> {
    using Factors = Pair;
    static constexpr int COUNT = 2;
};
template <> struct Simd<Pair> {
    static constexpr int W = MIR_BYTES / 4;
    typedef int32_t V __attribute__((vector_size(MIR_BYTES)));
    typedef V I;
};

inline void multiply_add(Vec<float> &sum, Vec<Pair> v, Vec<Pair> s) {
    sum = _mm512_dpbf16_ps(sum, (__m512bh)v, (__m512bh)s);
}
inline void multiply_add(Vec<float> &sum, Vec<Pair> v, Pair s) {
    multiply_add(sum, v, (Vec<Pair>)_mm512_set1_epi32(s.bits));
}

// Rounded to nearest, ties to even.
inline void store(Bf16 *p, Vec<float> v) {
    const __m256bh rounded = _mm512_cvtneps_pbh(v);
    std::memcpy(p, &rounded, sizeof rounded);
}
inline void store(Bf16 *p, Vec<float> v, int lanes) {
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << lanes) - 1), (__m256i)_mm512_cvtneps_pbh(v));
}

// Lane by lane, the pair of a number of a and one of b.
inline Vec<Pair> paired(Vec<float> a, Vec<float> b) {
    alignas(64) static constexpr int16_t TURNS[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    return (Vec<Pair>)_mm512_permutexvar_epi16(_mm512_load_si512(TURNS), both);
}
// The same of bfloat16, the first `lanes` and zeros behind.
inline Vec<Pair> paired(const Bf16 *a, const Bf16 *b, int lanes) {
    const __mmask16 some = (__mmask16)((1u << lanes) - 1);
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, a)),
                  high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, b));
    return (Vec<Pair>)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
// The first `lanes` pairs, zeros behind.
template <> inline Vec<Pair> load<Pair>(const Pair *p, int lanes) {
    return (Vec<Pair>)_mm512_maskz_loadu_epi32((__mmask16)((1u << lanes) - 1), p);
}
#endif

}  // namespace MIR_ISA
