// Window attention: one window and head at a time in cache. Queries lie along the lanes, so the relative bias
// of a row of queries is a plain load from the table; the n×n matrix exists only for two rows of queries.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "args.h"
#include "linear.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::AttentionArgs;
using mir::AttentionBlockArgs;
using mir::AttentionGradArgs;
using mir::TABLE;
using mir::TOKENS;
using mir::WINDOW;
constexpr int SPAN = 2 * WINDOW - 1;

// Register tiles beside two vectors of queries.
#if MIR_REGISTERS == 32
constexpr int KEYS = 8, DIMS = 12;
#else
constexpr int KEYS = 4, DIMS = 4;
#endif

// acc[j][v] += Σ_d x[d][v] · y[j][d] for J rows of y and two vectors: the product that all passes share.
template <class T, int J>
inline void tile(Vec<T> (&acc)[J][2], const T *x, int64_t x_step, const T *y, int64_t y_row, int64_t y_step, int count) {
    constexpr int W = Simd<T>::W;
    for (int d = 0; d < count; d++) {
        const Vec<T> x0 = load(x + d * x_step), x1 = load(x + d * x_step + W);
#pragma GCC unroll 12
        for (int j = 0; j < J; j++) {
            const T s = y[j * y_row + d * y_step];
            acc[j][0] += x0 * s;
            acc[j][1] += x1 * s;
        }
    }
}

// Where the tokens of a window lie, and which region of the shifted image each belongs to.
template <class T> struct Window {
    int64_t token[TOKENS];
    bool border;  // it holds more than one region
    T region[TOKENS];

    Window(const AttentionArgs<T> &a, int64_t image, int64_t index) {
        const int64_t columns = a.width / WINDOW, wy = index / columns, wx = index % columns;
        const bool last_y = a.shift && wy == a.height / WINDOW - 1, last_x = a.shift && wx == columns - 1;
        border = last_y || last_x;
        for (int y = 0; y < WINDOW; y++)
            for (int x = 0; x < WINDOW; x++) {
                const int64_t row = (wy * WINDOW + y + a.shift) % a.height, column = (wx * WINDOW + x + a.shift) % a.width;
                token[y * WINDOW + x] = (image * a.height + row) * a.width + column;
                region[y * WINDOW + x] = T(2 * (last_y && y >= WINDOW - a.shift) + (last_x && x >= WINDOW - a.shift));
            }
    }
};

// -100 (in base 2) for lanes i.. against position j where their regions differ.
template <class T> inline Vec<T> region_mask(const Window<T> &w, int i, int j) {
    return load(w.region + i) == w.region[j] ? Vec<T>{} : splat(T(-100 * 1.4426950408889634074));
}

// Where the table has the bias of query q and key k, the next query one further; and with x mirrored, the next key.
inline int place(int q, int k) { return (q / WINDOW - k / WINDOW + WINDOW - 1) * SPAN + q % WINDOW - k % WINDOW + WINDOW - 1; }
inline int mirrored_place(int q, int k) {
    return (q / WINDOW - k / WINDOW + WINDOW - 1) * SPAN + k % WINDOW - q % WINDOW + WINDOW - 1;
}

template <class T> struct Tables {
    Buffer<T> plain, mirrored;  // (heads, SPAN, SPAN) in base 2; the second with x reversed
    Tables(const AttentionArgs<T> &a, bool both) : plain(a.heads * TABLE), mirrored(both ? a.heads * TABLE : 0) {
        for (int64_t h = 0; h < a.heads; h++)
            for (int i = 0; i < TABLE; i++) {
                const T value = a.table[i * a.heads + h] * T(1.4426950408889634074);
                plain[h * TABLE + i] = value;
                if (both) mirrored[h * TABLE + i / SPAN * SPAN + SPAN - 1 - i % SPAN] = value;
            }
    }
};

// Rows of one head copied out of the image: (TOKENS, padded), zeros behind dim.
template <class T> inline void gather(T *rows, const int64_t *token, const T *from, int64_t stride, int dim, int padded) {
    constexpr int W = Simd<T>::W;
    for (int i = 0; i < TOKENS; i++)
        for (int d = 0; d < padded; d += W) {
            const Vec<T> v = load(from + token[i] * stride + d, std::clamp(dim - d, 0, W));
            store(rows + i * padded + d, v, std::min(W, padded - d));
        }
}

// The same transposed, (dim, TOKENS), times scale; and back.
template <class T>
inline void gather_transposed(T *columns, const int64_t *token, const T *from, int64_t stride, int dim, T scale) {
    constexpr int W = Simd<T>::W;
    for (int i = 0; i < TOKENS; i += W)
        for (int d = 0; d < dim; d += W) {
            const int lanes = std::min(W, dim - d);
            Vec<T> v[W];
            for (int l = 0; l < W; l++) v[l] = load(from + token[i + l] * stride + d, lanes);
            transpose<T>(v);
            for (int l = 0; l < lanes; l++) store(columns + (d + l) * TOKENS + i, v[l] * scale);
        }
}
template <class T> inline void scatter_transposed(T *to, const int64_t *token, const T *columns, int64_t stride, int dim, T scale) {
    constexpr int W = Simd<T>::W;
    for (int i = 0; i < TOKENS; i += W)
        for (int d = 0; d < dim; d += W) {
            const int lanes = std::min(W, dim - d);
            Vec<T> v[W];
            for (int l = 0; l < W; l++) v[l] = l < lanes ? load(columns + (d + l) * TOKENS + i) : Vec<T>{};
            transpose<T>(v);
            for (int l = 0; l < W; l++) store(to + token[i + l] * stride + d, v[l] * scale, lanes);
        }
}

// out[i][d] for dims d0.. and the two vectors of positions at i: f · Σ_j p[j] · y[j][d], left in (d, TOKENS); ADD: and what is
// there, with f 1.
template <class T, int J, bool ADD>
inline void weighted(T *out, const T *p, const T *y, int64_t row, int count, Vec<T> f0, Vec<T> f1) {
    constexpr int W = Simd<T>::W;
    Vec<T> acc[J][2] = {};
    if (ADD)
#pragma GCC unroll 12
        for (int j = 0; j < J; j++) acc[j][0] = load(out + j * TOKENS), acc[j][1] = load(out + j * TOKENS + W);
    tile<T, J>(acc, p, 2 * W, y, 1, row, count);
#pragma GCC unroll 12
    for (int j = 0; j < J; j++) {
        store(out + j * TOKENS, ADD ? acc[j][0] : acc[j][0] * f0);
        store(out + j * TOKENS + W, ADD ? acc[j][1] : acc[j][1] * f1);
    }
}
template <class T, bool ADD>
inline void weighted_all(T *out, const T *p, const T *y, int64_t row, int padded, int count, Vec<T> f0, Vec<T> f1) {
    int d = 0;
    for (; d + DIMS <= padded; d += DIMS) weighted<T, DIMS, ADD>(out + d * TOKENS, p, y + d, row, count, f0, f1);
    for (; d < padded; d += 4) weighted<T, 4, ADD>(out + d * TOKENS, p, y + d, row, count, f0, f1);
}

inline int padded_to_4(int64_t dim) { return (int)(dim + 3) / 4 * 4; }

// Scores of the two vectors of queries at i against every key, and the largest of each lane. All loops over a register tile
// are unrolled: one that is not keeps the tile in memory.
template <class T, bool MASKED>
inline void attend_to(T *scores, Vec<T> (&top)[2], const Window<T> &w, const T *table, int i, const T *q, const T *k, int dim, int64_t row) {
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

// The attention of one window. Token i of it has its row of qkv and of out at token[i]. Where these rows follow each other in
// cache (`near`), keys and values are read where they are; up to 3 values behind the last are read too.
template <class T>
void attend(const AttentionArgs<T> &a, const Tables<T> &tables, const Window<T> &w, const int64_t *token, const T *qkv, T *out, T *lse, Scratch<T> &buffer, bool near) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const int64_t embed = a.heads * a.dim;
    const int dim = (int)a.dim, padded = padded_to_4(dim);
    const T scale = T(1.4426950408889634074) / std::sqrt(T(dim));
    buffer.resize((4 * padded + 2 * W) * TOKENS + TOKENS);
    T *q = buffer.data(), *k_rows = q + padded * TOKENS, *v_rows = k_rows + padded * TOKENS, *o = v_rows + padded * TOKENS;
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

// From the layer norm to the projection, a window at a time: queries, keys and values of the image are never written.
template <class T> void attention_block_forward(const AttentionBlockArgs<T> &a) {
    using V = Vec<T>;
    const AttentionArgs<T> &attention = a.attention;
    const int64_t windows = attention.height / WINDOW * (attention.width / WINDOW), embed = attention.heads * attention.dim;
    const Tables<T> tables(attention, false);
    const LinearArgs<T> in{a.x, a.qkv_weight, a.qkv_bias, a.gamma, a.beta, nullptr, nullptr, nullptr, nullptr, TOKENS, embed, 3 * embed, embed, a.eps, 0, 1};
    const LinearArgs<T> back{nullptr, a.proj_weight, a.proj_bias, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, TOKENS, embed, embed, embed, 0, 0, 1};
    const Scratch<T> in_columns = panels(in.weight, in.out, in.in), back_columns = panels(back.weight, back.out, back.in);
    mir::parallel(attention.batch * windows, attention.threads, [&](int64_t task) {
        const Window<T> w(attention, task / windows, task % windows);
        Scratch<T> buffer, qkv(TOKENS * 3 * embed + 3), mixed(TOKENS * embed);
        LinearBlock<T> to_qkv(in, in_columns.data()), project(back, back_columns.data());
        int64_t own[TOKENS];
        for (int i = 0; i < TOKENS; i++) own[i] = i;
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            to_qkv.gather(LINEAR_BLOCK, [&](int64_t r) { return a.x + w.token[r0 + r] * embed; });
            T *to = qkv.data() + r0 * 3 * embed;
            to_qkv.template map<false>(LINEAR_BLOCK, [=](int64_t r, int64_t o, int lanes, V v) { store(to + r * 3 * embed + o, v, lanes); });
        }
        T *lse = attention.lse ? attention.lse + task * attention.heads * TOKENS : nullptr;
        attend<T>(attention, tables, w, own, qkv.data(), mixed.data(), lse, buffer, true);
        for (int i = 0; a.mixed && i < TOKENS; i++) std::copy_n(&mixed[i * embed], embed, a.mixed + w.token[i] * embed);
        for (int64_t r0 = 0; r0 < TOKENS; r0 += LINEAR_BLOCK) {
            project.view(mixed.data() + r0 * embed, embed);
            const int64_t *token = w.token + r0;
            const T *x = a.x;
            T *out = attention.out;
            project.template map<false>(LINEAR_BLOCK, [=](int64_t r, int64_t o, int lanes, V v) {
                const int64_t at = token[r] * embed + o;
                store(out + at, v + load(x + at, lanes), lanes);
            });
        }
    });
}

constexpr int QUERIES = 32;  // of which p and ds stay in the first-level cache

// Where the gradient of the bias of query q and key k is summed, the next key one further. No other two vectors of keys lie
// across each other, as they do in the table: what was just stored in pieces is slow to load.
constexpr int SUMS = SPAN * WINDOW * WINDOW;
inline int sum_place(int q, int k) { return ((q / WINDOW - k / WINDOW + WINDOW - 1) * WINDOW + q % WINDOW) * WINDOW + k % WINDOW; }

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
    // Parts are fixed by the shapes, not by the threads, so that sums come out the same on any machine. All heads of a window
    // follow each other: its rows hold them all.
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        AttentionBackward<T> work(g, tables);
        for (int64_t i = total * part / g.parts; i < total * (part + 1) / g.parts; i++)
            for (int64_t head = 0; head < a.heads; head++) work.window(i, head);
        work.reduce(dtables.of(part));
    });
    dtables.add_up();
}

}  // namespace MIR_ISA
