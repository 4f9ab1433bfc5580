// The gradients of window attention.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "abi/structs.h"
#include "attention/tile.h"
#include "attention/window.h"
#include "base/functions.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/parts.h"

namespace MIR_ISA {

using mir::AttentionGradArgs;

constexpr int QUERIES = 32;  // of which p and ds stay in the first-level cache

// Where the gradient of the bias of query q and key k is summed, the next key one further. No other two vectors of keys
// lie across each other, as they do in the table: what was just stored in pieces is slow to load.
constexpr int SUMS = SPAN * WINDOW * WINDOW;
inline int sum_place(int q, int k) {
    return ((q / WINDOW - k / WINDOW + WINDOW - 1) * WINDOW + q % WINDOW) * WINDOW + k % WINDOW;
}

// Keys along the lanes: for two vectors of keys at a time, p and ds against some queries, then what they give to
// v, k, the bias, and (through ds in the cache) q.
template <class T> struct AttentionBackward {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const AttentionGradArgs<T> &g;
    const AttentionArgs<T> &a;
    const Tables<T> &tables;
    const int dim, padded, wide;  // wide: dim padded to whole vectors
    Scratch<T> buffer;
    Buffer<T> dbiases;  // (heads, SUMS)
    T *q, *dout, *kt, *vt, *k_wide, *dq, *dk, *dv, *p, *ds, *slope, *dbias = nullptr;

    AttentionBackward(const AttentionGradArgs<T> &args, const Tables<T> &t)
        : g(args), a(args.forward), tables(t), dim((int)a.dim), padded(padded_to_4(a.dim)), wide((dim + W - 1) / W * W),
          buffer((6 * padded + 2 * wide + 1) * TOKENS + 4 * W * QUERIES), dbiases(a.heads * SUMS) {
        T *next = buffer.data();
        for (T **part : {&q, &dout, &kt, &vt, &dk, &dv}) *part = next, next += padded * TOKENS;
        for (T **part : {&k_wide, &dq}) *part = next, next += wide * TOKENS;
        for (T **part : {&p, &ds}) *part = next, next += 2 * W * QUERIES;
        slope = next;
    }

    void window(int64_t index, int64_t head) {
        const int64_t windows = a.height / WINDOW * (a.width / WINDOW), embed = a.heads * dim;
        const Window<T> w(a, index / windows, index % windows);
        const T log2e = T(1.4426950408889634074), scale = T(1) / std::sqrt(T(dim));
        const T *qkv = a.qkv + head * dim;
        dbias = &dbiases[head * SUMS];
        gather(q, w.token, qkv, 3 * embed, dim, padded);
        gather(dout, w.token, g.dout + head * dim, embed, dim, padded);
        gather(k_wide, w.token, qkv + embed, 3 * embed, dim, wide);
        gather_transposed(kt, w.token, qkv + embed, 3 * embed, dim, scale * log2e);
        gather_transposed(vt, w.token, qkv + 2 * embed, 3 * embed, dim, T(1));
        for (int i = 0; i < TOKENS; i++) {
            const T *out = a.out + w.token[i] * embed + head * dim;
            V dot = {};
            for (int d = 0; d < dim; d += W) {
                const int lanes = std::min(W, dim - d);
                dot += load(out + d, lanes) * load(dout + i * padded + d, lanes);
            }
            slope[i] = sum<T>(dot);
        }
        for (T *sums : {dk, dv}) std::fill(sums, sums + padded * TOKENS, T(0));
        std::fill(dq, dq + wide * TOKENS, T(0));
        const T *lse = a.lse + (index * a.heads + head) * TOKENS, *table = tables.mirrored.data() + head * TABLE;
        for (int j = 0; j < TOKENS; j += 2 * W)
            for (int i0 = 0; i0 < TOKENS; i0 += QUERIES) {
                for (int i = 0; i < QUERIES; i += KEYS) probabilities(w, i0 + i, j, i, lse, table);
                weighted_all<T, true>(dv + j, p, dout + i0 * padded, padded, padded, QUERIES, V{}, V{});
                weighted_all<T, true>(dk + j, ds, q + i0 * padded, padded, padded, QUERIES, V{}, V{});
                for (int i = 0; i < QUERIES; i += 8)
                    for (int d = 0; d < wide; d += W) queries(i0 + i, j, d, ds + i * 2 * W);
            }
        T *dqkv = g.dqkv + head * dim;
        for (int i = 0; i < TOKENS; i++)
            for (int d = 0; d < dim; d += W)
                store(dqkv + w.token[i] * 3 * embed + d, load(dq + i * wide + d) * scale, std::min(W, dim - d));
        scatter_transposed(dqkv + embed, w.token, dk, 3 * embed, dim, scale);
        scatter_transposed(dqkv + 2 * embed, w.token, dv, 3 * embed, dim, T(1));
    }

    // p and ds of queries i.. against the two vectors of keys at j, to place `at`.
    void probabilities(const Window<T> &w, int i, int j, int at, const T *lse, const T *table) {
        const T *bias0 = table + mirrored_place(i, j), *bias1 = table + mirrored_place(i, j + W);
        V s[KEYS][2], dp[KEYS][2] = {};
#pragma GCC unroll 8
        for (int ii = 0; ii < KEYS; ii++) s[ii][0] = load(bias0 - ii), s[ii][1] = load(bias1 - ii);
        tile<T, KEYS>(s, kt + j, TOKENS, q + i * padded, padded, 1, dim);
        if (w.border)
            for (int ii = 0; ii < KEYS; ii++)
                for (int x = 0; x < 2; x++) s[ii][x] += region_mask<T>(w, j + x * W, i + ii);
#pragma GCC unroll 8
        for (int ii = 0; ii < KEYS; ii++)
            for (int x = 0; x < 2; x++) store(p + (at + ii) * 2 * W + x * W, exp2v(s[ii][x] - lse[i + ii]));
        tile<T, KEYS>(dp, vt + j, TOKENS, dout + i * padded, padded, 1, dim);
#pragma GCC unroll 8
        for (int ii = 0; ii < KEYS; ii++)
            for (int x = 0; x < 2; x++) {
                const V dsv = load(p + (at + ii) * 2 * W + x * W) * (dp[ii][x] - slope[i + ii]);
                store(ds + (at + ii) * 2 * W + x * W, dsv);
                T *sum = dbias + sum_place(i + ii, j + x * W);
                store(sum, load(sum) + dsv);
            }
    }

    // dq of eight queries at i, one vector of channels at d, from the keys at j; ds: of these queries.
    void queries(int i, int j, int d, const T *ds) {
        V acc[8];
#pragma GCC unroll 8
        for (int ii = 0; ii < 8; ii++) acc[ii] = load(dq + (i + ii) * wide + d);
        for (int jj = 0; jj < 2 * W; jj++) {
            const V k = load(k_wide + (j + jj) * wide + d);
#pragma GCC unroll 8
            for (int ii = 0; ii < 8; ii++) acc[ii] += k * ds[ii * 2 * W + jj];
        }
#pragma GCC unroll 8
        for (int ii = 0; ii < 8; ii++) store(dq + (i + ii) * wide + d, acc[ii]);
    }

    // The gradient of the bias by relative position, (TABLE, heads).
    void reduce(T *table) const {
        std::fill(table, table + TABLE * a.heads, T(0));
        for (int64_t head = 0; head < a.heads; head++) {
            const T *sum = &dbiases[head * SUMS];
            for (int y = 0; y < SPAN; y++)
                for (int q = 0; q < WINDOW; q++)
                    for (int k = 0; k < WINDOW; k++) table[(y * SPAN + q - k + WINDOW - 1) * a.heads + head] += *sum++;
        }
    }
};

template <class T> void attention_backward(const AttentionGradArgs<T> &g) {
    const AttentionArgs<T> &a = g.forward;
    const int64_t total = a.batch * (a.height / WINDOW) * (a.width / WINDOW);
    const Tables<T> tables(a, true);
    Parts<T> dtables(g.dtable, g.parts, TABLE * a.heads);
    // Parts are fixed by the shapes, not by the threads, so that sums come out the same on any machine. All heads of a
    // window follow each other: its rows hold them all.
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        AttentionBackward<T> work(g, tables);
        for (int64_t i = total * part / g.parts; i < total * (part + 1) / g.parts; i++)
            for (int64_t head = 0; head < a.heads; head++) work.window(i, head);
        work.reduce(dtables.of(part));
    });
    dtables.add_up();
}

}  // namespace MIR_ISA
