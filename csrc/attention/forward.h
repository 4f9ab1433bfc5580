// Window attention: one window and head at a time in cache. Queries lie along the lanes, so the relative bias
// of a row of queries is a plain load from the table; the n×n matrix exists only for two rows of queries.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "abi/structs.h"
#include "attention/tile.h"
#include "attention/window.h"
#include "base/functions.h"
#include "base/parallel.h"

namespace MIR_ISA {

// Scores of the two vectors of queries at i against every key, and the largest of each lane. All loops over a register
// tile are unrolled: one that is not keeps the tile in memory.
template <class T, bool MASKED>
inline void attend_to(T *scores, Vec<T> (&top)[2], const Window<T> &w, const T *table, int i, const T *q, const T *k,
                      int dim, int64_t row) {
    constexpr int W = Simd<T>::W;
    Vec<T> top0 = splat(-std::numeric_limits<T>::infinity()), top1 = top0;
    for (int j = 0; j < TOKENS; j += KEYS) {
        const T *bias0 = table + place(i, j), *bias1 = table + place(i + W, j);  // and one less for each key of the row
        Vec<T> acc[KEYS][2];
#pragma GCC unroll 8
        for (int jj = 0; jj < KEYS; jj++) {
            acc[jj][0] = load(bias0 - jj), acc[jj][1] = load(bias1 - jj);
            if (MASKED) acc[jj][0] += region_mask<T>(w, i, j + jj), acc[jj][1] += region_mask<T>(w, i + W, j + jj);
        }
        tile<T, KEYS>(acc, q + i, TOKENS, k + j * row, row, 1, dim);
#pragma GCC unroll 8
        for (int jj = 0; jj < KEYS; jj++) {
            store(scores + (j + jj) * 2 * W, acc[jj][0]);
            store(scores + (j + jj) * 2 * W + W, acc[jj][1]);
            top0 = vmax(top0, acc[jj][0]), top1 = vmax(top1, acc[jj][1]);
        }
    }
    top[0] = top0, top[1] = top1;
}

// The attention of one window. Token i of it has its row of qkv and of out at token[i]. Where these rows follow each
// other in cache (`near`), keys and values are read where they are; up to 3 values behind the last are read too.
template <class T>
void attend(const AttentionArgs<T> &a, const Tables<T> &tables, const Window<T> &w, const int64_t *token, const T *qkv,
            T *out, T *lse, Scratch<T> &buffer, bool near) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const int64_t embed = a.heads * a.dim;
    const int dim = (int)a.dim, padded = padded_to_4(dim);
    const T scale = T(1.4426950408889634074) / std::sqrt(T(dim));
    buffer.resize((4 * padded + 2 * W) * TOKENS + TOKENS);
    T *q = buffer.data(), *k_rows = q + padded * TOKENS, *v_rows = k_rows + padded * TOKENS,
      *o = v_rows + padded * TOKENS;
    T *scores = o + padded * TOKENS;
    const int64_t row = near ? 3 * embed : padded;
    for (int64_t head = 0; head < a.heads; head++) {
        const T *from = qkv + head * dim, *table = tables.plain.data() + head * TABLE;
        gather_transposed(q, token, from, 3 * embed, dim, scale);
        if (!near) {
            gather(k_rows, token, from + embed, 3 * embed, dim, padded);
            gather(v_rows, token, from + 2 * embed, 3 * embed, dim, padded);
        }
        const T *k = near ? from + embed : k_rows, *v = near ? from + 2 * embed : v_rows;
        for (int i = 0; i < TOKENS; i += 2 * W) {
            V top[2];
            if (w.border)
                attend_to<T, true>(scores, top, w, table, i, q, k, dim, row);
            else
                attend_to<T, false>(scores, top, w, table, i, q, k, dim, row);
            V total[2] = {};
            for (int j = 0; j < TOKENS; j++)
                for (int x = 0; x < 2; x++) {
                    const V p = exp2v(load(scores + j * 2 * W + x * W) - top[x]);
                    store(scores + j * 2 * W + x * W, p);
                    total[x] += p;
                }
            weighted_all<T, false>(o + i, scores, v, row, padded, TOKENS, T(1) / total[0], T(1) / total[1]);
            if (lse)
                for (int x = 0; x < 2; x++)
                    for (int l = 0; l < W; l++) lse[head * TOKENS + i + x * W + l] = top[x][l] + std::log2(total[x][l]);
        }
        scatter_transposed(out + head * dim, token, o, embed, dim, T(1));
    }
}

template <class T> void attention_forward(const AttentionArgs<T> &a) {
    const int64_t windows = a.height / WINDOW * (a.width / WINDOW);
    const Tables<T> tables(a, false);
    mir::parallel(a.batch * windows, a.threads, [&](int64_t task) {
        const Window<T> w(a, task / windows, task % windows);
        Scratch<T> buffer;
        attend(a, tables, w, w.token, a.qkv, a.out, a.lse ? a.lse + task * a.heads * TOKENS : nullptr, buffer, false);
    });
}

}  // namespace MIR_ISA
