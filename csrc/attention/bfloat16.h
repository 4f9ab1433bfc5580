// Window attention of bfloat16, for inference: a window and head at a time, queries along the lanes. A score counts
// 1/128 in base 2, as bfloat16 has 7 bits behind the point: then its whole number is nearly that of exp2 in bfloat16.
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

constexpr float SCORE_UNIT = 1 << 7, SCORE_OF_ONE = 127 * SCORE_UNIT;  // the exponent of 1 begins at 127

// The bias by relative position as scores, and how large it gets.
struct ScoreTables : Tables<float> {
    Buffer<float> largest;  // (heads)
    explicit ScoreTables(const AttentionArgs<float> &a)
        : Tables<float>(a, false, SCORE_UNIT, SCORE_OF_ONE), largest(a.heads) {
        for (int64_t i = 0; i < a.heads * TABLE; i++)
            largest[i / TABLE] = std::max(largest[i / TABLE], std::abs(plain[i] - SCORE_OF_ONE));
    }
};

#if defined(__AVX512BF16__)
// Scores up to this are taken to exp2 as they are: no power of two, no sum of TOKENS of them and no product with a
// value leaves the range of float.
constexpr float SAFE_SCORE = 100 * SCORE_UNIT, LEAST_SCORE = SCORE_UNIT;

// By how much f, in 1/128, is more than 2^f - 1: what the bits of a score have too much.
struct Excess {
    alignas(64) uint8_t of[128];
    Excess() {
        for (int f = 0; f < 128; f++) of[f] = (uint8_t)(f - std::lround(128 * (std::exp2(f / 128.0) - 1)));
    }
};

// exp2 of scores, which are rounded to whole numbers, correctly rounded to bfloat16.
struct Exp2 {
    const __m512i low, high;
    explicit Exp2(const Excess &table) : low(_mm512_load_si512(table.of)), high(_mm512_load_si512(table.of + 64)) {}
    Vec<Pair> operator()(Vec<float> a, Vec<float> b) const {
        const __m512i bits = _mm512_or_si512(_mm512_cvtps_epi32(a), _mm512_slli_epi32(_mm512_cvtps_epi32(b), 16));
        // Of each number, the lower byte: its lower seven bits are where the table is read.
        const __m512i excess = _mm512_maskz_permutex2var_epi8(0x5555555555555555, low, bits, high);
        return (Vec<Pair>)_mm512_sub_epi16(bits, excess);
    }
};

// One head of a window: the scores of two vectors of queries at a time against all keys.
struct Head {
    const Window<float> &window;
    const float *table;  // with SCORE_OF_ONE on top
    const Pair *q;       // (pairs, TOKENS)
    const Bf16 *k;       // rows of `row`, an even number
    int64_t row;
    int pairs;
    const Exp2 exp2;

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
        const Exp2 power = exp2;
        by_keys<MASKED>(i, [&](int j, Vec<float>(&acc)[KEYS][2]) {
#pragma GCC unroll 4
            for (int jj = 0; jj < KEYS; jj += 2) {
                if (!BOUNDED)
                    for (int l = 0; l < 2; l++) {
                        acc[jj + l][0] = vmax(acc[jj + l][0] - shift0, splat(LEAST_SCORE));
                        acc[jj + l][1] = vmax(acc[jj + l][1] - shift1, splat(LEAST_SCORE));
                    }
                const Vec<Pair> p0 = power(acc[jj][0], acc[jj + 1][0]), p1 = power(acc[jj][1], acc[jj + 1][1]);
                store(p + (j + jj) * W, p0), store(p + (j + jj) * W + W, p1);
                multiply_add(total0, p0, ones), multiply_add(total1, p1, ones);
            }
        });
        total[0] = total0, total[1] = total1;
    }
    // What is taken off a query so that its largest score is 0.
    template <bool MASKED> void largest(int i, Vec<float> *top) const {
        Vec<float> top0 = splat(-std::numeric_limits<float>::infinity()), top1 = top0;
        by_keys<MASKED>(i, [&](int, Vec<float>(&acc)[KEYS][2]) {
#pragma GCC unroll 8
            for (int jj = 0; jj < KEYS; jj++) top0 = vmax(top0, acc[jj][0]), top1 = vmax(top1, acc[jj][1]);
        });
        top[0] = top0 - SCORE_OF_ONE, top[1] = top1 - SCORE_OF_ONE;
    }
    // No score is larger without its bias: the longest query times the longest key.
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
        return std::sqrt(_mm512_reduce_max_ps(queries) * _mm512_reduce_max_ps(keys));
    }
};

// The attention of one window: qkv, rows of `row`, queries scaled to scores; out: rows of `out_row`.
inline void attend(const AttentionArgs<float> &a, const ScoreTables &tables, const Window<float> &w, const Bf16 *qkv,
                   int64_t row, Bf16 *out, int64_t out_row, Scratch<float> &buffer) {
    constexpr int W = Simd<float>::W;
    const int64_t embed = a.heads * a.dim;
    const int dim = (int)a.dim, padded = padded_to_4(dim), pairs = (dim + 1) / 2;
    buffer.resize((pairs + padded / 2 + padded + W) * TOKENS);
    Pair *q = reinterpret_cast<Pair *>(buffer.data()), *v = q + pairs * TOKENS, *p = v + padded / 2 * TOKENS;
    float *o = buffer.data() + (pairs + padded / 2 + W) * TOKENS;
    static const Excess excess;
    const Exp2 exp2(excess);
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
        const Head head{w, tables.plain.data() + h * TABLE, q, from + embed, row, pairs, exp2};
        const bool bounded = head.bound(dim) + tables.largest[h] < SAFE_SCORE;
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
