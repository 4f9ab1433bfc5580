// Window attention of bfloat16, for inference: a window and head at a time, queries along the lanes. Scores count
// 2^-23, so that as integers they are nearly floats: the bits above are the exponent of exp2.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "abi/structs.h"
#include "attention/tile.h"
#include "attention/window.h"
#include "base/bfloat16.h"

namespace MIR_ISA {

constexpr float SCORE_UNIT = 1 << 23;

#if defined(__AVX512BF16__)
// Scores up to this are taken to exp2 as they are: no power of two, no sum of TOKENS of them and no product with a
// value leaves the range of float.
constexpr float SAFE_SCORE = 100 * SCORE_UNIT, LEAST_SCORE = -126 * SCORE_UNIT;

// exp2 of scores from LEAST_SCORE on, 7.5e-5 from true, with half a unit of bfloat16 on top: the upper half is rounded.
inline Vec<Pair> exp2_bits(Vec<float> score) {
    const __m512i bits = _mm512_cvtps_epi32(score), mantissa = _mm512_set1_epi32(0x007fffff);
    // 1 and the fraction, and the power of the whole number, as bits of a float
    const Vec<float> f = (Vec<float>)_mm512_ternarylogic_epi32(bits, mantissa, _mm512_set1_epi32(0x3f800000), 0xea);
    const __m512i whole = _mm512_ternarylogic_epi32(bits, mantissa, _mm512_set1_epi32(0x00008000), 0xba);
    Vec<float> p = splat(0.07802466f);
    p = p * f - 0.00800703f;
    p = p * f + 0.47777368f;
    p = p * f + 0.45213391f;
    return (Vec<Pair>)_mm512_add_epi32((__m512i)p, whole);
}
inline Vec<Pair> exp2_paired(Vec<float> a, Vec<float> b) {
    const __m512i low = _mm512_srli_epi32((__m512i)exp2_bits(a), 16);
    return (Vec<Pair>)_mm512_mask_blend_epi16(0xaaaaaaaa, low, (__m512i)exp2_bits(b));
}

// One head of a window: the scores of two vectors of queries at a time against all keys.
struct Head {
    const Window<float> &window;
    const float *table;
    const Pair *q;  // (pairs, TOKENS)
    const Bf16 *k;  // rows of `row`, an even number
    int64_t row;
    int pairs;

    // f(j, scores of KEYS keys from j on) for the vectors of queries at i.
    template <bool MASKED, class F> void by_keys(int i, F &&f) const {
        constexpr int W = Simd<float>::W;
        for (int j = 0; j < TOKENS; j += KEYS) {
            const float *bias0 = table + place(i, j), *bias1 = table + place(i + W, j);
            Vec<float> acc[KEYS][2];
#pragma GCC unroll 8
            for (int jj = 0; jj < KEYS; jj++) {
                acc[jj][0] = load(bias0 - jj), acc[jj][1] = load(bias1 - jj);
                if (MASKED) {
                    acc[jj][0] += region_mask<float>(window, i, j + jj) * SCORE_UNIT;
                    acc[jj][1] += region_mask<float>(window, i + W, j + jj) * SCORE_UNIT;
                }
            }
            tile<float, KEYS, Pair>(acc, q + i, TOKENS, reinterpret_cast<const Pair *>(k + j * row), row / 2, 1, pairs);
            f(j, acc);
        }
    }
    // exp2 of the scores less `shift`, two keys a pair: (TOKENS / 2, two vectors); and their sums.
    template <bool MASKED, bool BOUNDED> void weigh(int i, const Vec<float> *shift, Pair *p, Vec<float> *total) const {
        constexpr int W = Simd<float>::W;
        const Vec<Pair> ones = (Vec<Pair>)_mm512_set1_epi32(0x3f803f80);
        Vec<float> total0 = {}, total1 = {};
        const Vec<float> shift0 = shift[0], shift1 = shift[1];
        by_keys<MASKED>(i, [&](int j, Vec<float>(&acc)[KEYS][2]) {
#pragma GCC unroll 4
            for (int jj = 0; jj < KEYS; jj += 2) {
                if (!BOUNDED)
                    for (int l = 0; l < 2; l++) {
                        acc[jj + l][0] = vmax(acc[jj + l][0] - shift0, splat(LEAST_SCORE));
                        acc[jj + l][1] = vmax(acc[jj + l][1] - shift1, splat(LEAST_SCORE));
                    }
                const Vec<Pair> p0 = exp2_paired(acc[jj][0], acc[jj + 1][0]),
                                p1 = exp2_paired(acc[jj][1], acc[jj + 1][1]);
                store(p + (j + jj) * W, p0), store(p + (j + jj) * W + W, p1);
                multiply_add(total0, p0, ones), multiply_add(total1, p1, ones);
            }
        });
        total[0] = total0, total[1] = total1;
    }
    template <bool MASKED> void largest(int i, Vec<float> *top) const {
        Vec<float> top0 = splat(-std::numeric_limits<float>::infinity()), top1 = top0;
        by_keys<MASKED>(i, [&](int, Vec<float>(&acc)[KEYS][2]) {
#pragma GCC unroll 8
            for (int jj = 0; jj < KEYS; jj++) top0 = vmax(top0, acc[jj][0]), top1 = vmax(top1, acc[jj][1]);
        });
        top[0] = top0, top[1] = top1;
    }
    // No score is larger: the longest query times the longest key, and the largest bias.
    float bound(int dim) const {
        constexpr int W = Simd<float>::W;
        Vec<float> queries = {}, keys = {};
        for (int i = 0; i < TOKENS; i += W) {
            Vec<float> q2 = {}, k2[W] = {};
            for (int d = 0; d < pairs; d++) {
                const Vec<Pair> v = load(q + d * TOKENS + i);
                multiply_add(q2, v, v);
            }
            for (int l = 0; l < W; l++)
                for (int d = 0; d < dim; d += 2 * W) {
                    const uint32_t some = dim - d >= 2 * W ? ~0u : (1u << (dim - d)) - 1;
                    const Vec<Pair> v = (Vec<Pair>)_mm512_maskz_loadu_epi16(some, k + (i + l) * row + d);
                    multiply_add(k2[l], v, v);
                }
            queries = vmax(queries, q2), keys = vmax(keys, sums<float, W>(k2));
        }
        float bias = 0;
        for (int t = 0; t < TABLE; t++) bias = std::max(bias, std::abs(table[t]));
        return std::sqrt(_mm512_reduce_max_ps(queries) * _mm512_reduce_max_ps(keys)) + bias;
    }
};

// The attention of one window: qkv, rows of `row`, queries scaled to scores; out: rows of `out_row`.
inline void attend(const AttentionArgs<float> &a, const Tables<float> &tables, const Window<float> &w, const Bf16 *qkv,
                   int64_t row, Bf16 *out, int64_t out_row, Scratch<float> &buffer) {
    constexpr int W = Simd<float>::W;
    const int64_t embed = a.heads * a.dim;
    const int dim = (int)a.dim, padded = padded_to_4(dim), pairs = (dim + 1) / 2;
    buffer.resize((pairs + padded / 2 + padded + W) * TOKENS);
    Pair *q = reinterpret_cast<Pair *>(buffer.data()), *v = q + pairs * TOKENS, *p = v + padded / 2 * TOKENS;
    float *o = buffer.data() + (pairs + padded / 2 + W) * TOKENS;
    int64_t own[TOKENS];
    for (int i = 0; i < TOKENS; i++) own[i] = i;
    for (int64_t h = 0; h < a.heads; h++) {
        const Bf16 *from = qkv + h * dim;
        for (int i = 0; i < TOKENS; i += W)
            for (int d = 0; d < pairs; d += W) {
                Vec<Pair> t[W];
                const int count = std::min(W, pairs - d);
                for (int l = 0; l < W; l++)
                    t[l] = load(reinterpret_cast<const Pair *>(from + (i + l) * row) + d, count);
                transpose<Pair>(t);
                if (dim % 2 && d + count == pairs) t[count - 1] &= 0xffff;  // of the next head
                for (int l = 0; l < count; l++) store(q + (d + l) * TOKENS + i, t[l]);
            }
        for (int j = 0; j < TOKENS; j += 2)
            for (int d = 0; d < padded; d += W) {
                const Bf16 *value = from + 2 * embed + j * row + d;
                _mm512_mask_storeu_epi32(v + j / 2 * padded + d, (__mmask16)((1u << std::min(W, padded - d)) - 1),
                                         (__m512i)paired(value, value + row, std::clamp(dim - d, 0, W)));
            }
        const Head head{w, tables.plain.data() + h * TABLE, q, from + embed, row, pairs};
        const bool bounded = head.bound(dim) < SAFE_SCORE;
        for (int i = 0; i < TOKENS; i += 2 * W) {
            Vec<float> shift[2] = {}, total[2];
            if (w.border) {
                if (!bounded) head.largest<true>(i, shift);
                head.weigh<true, false>(i, shift, p, total);
            } else if (bounded) {
                head.weigh<false, true>(i, shift, p, total);
            } else {
                head.largest<false>(i, shift);
                head.weigh<false, false>(i, shift, p, total);
            }
            weighted_all<float, false, Pair>(o + i, p, v, padded, padded, TOKENS / 2, 1 / total[0], 1 / total[1]);
        }
        scatter_transposed(out + h * dim, own, o, out_row, dim, 1.0f);
    }
}

#endif

}  // namespace MIR_ISA
