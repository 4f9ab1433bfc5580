// A linear map of tokens with what stands before and behind it: layer norm, the map, GELU, what is added. A block of
// tokens stays in cache through all of it, so each token is read once and written once.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "args.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::LinearArgs;
using mir::LinearGradArgs;

#if MIR_BYTES == 64
constexpr int TILE_ROWS = 8, TILE_COLUMNS = 3;  // 24 sums in 32 registers
#else
constexpr int TILE_ROWS = 4, TILE_COLUMNS = 2;  // 8 sums in 16 registers
#endif
constexpr int LINEAR_BLOCK = 64;  // tokens

// sum[r][c] += Σ_k s[r, k] · v[k, c] for scalars s and vectors v: the one loop of every product below.
template <class T, int C>
inline void product(Vec<T> (&sum)[TILE_ROWS][C], const T *s, int64_t s_row, int64_t s_step, const T *v, int64_t v_step, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        Vec<T> x[C];
        for (int c = 0; c < C; c++) x[c] = load(v + k * v_step + c * Simd<T>::W);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < C; c++) sum[r][c] += x[c] * s[r * s_row + k * s_step];
    }
}

// Calls f(columns, first vector) over `vectors` of them, as many at a time as the registers take.
template <class F> inline void by_columns(int vectors, F &&f) {
    int v = 0;
    for (; v + TILE_COLUMNS <= vectors; v += TILE_COLUMNS) f(std::integral_constant<int, TILE_COLUMNS>{}, v);
    if (TILE_COLUMNS > 2 && vectors - v == 2) f(std::integral_constant<int, 2>{}, v);
    if (vectors - v == 1) f(std::integral_constant<int, 1>{}, v);
}

template <class T> inline int64_t whole_vectors(int64_t n) { return (n + Simd<T>::W - 1) / Simd<T>::W * Simd<T>::W; }

// Lanes of the vector at column i of n that hold something.
template <class T> inline int lanes_at(int64_t i, int64_t n) { return (int)std::min<int64_t>(Simd<T>::W, n - i); }

// Mean and one over the standard deviation of n values.
template <class T> struct Moments {
    T mean, inverse;
};
template <class T> inline Moments<T> moments(const T *x, int64_t n, T eps) {
    constexpr int W = Simd<T>::W;
    Vec<T> total = {}, squares = {};
    for (int64_t i = 0; i < n; i += W) total += load(x + i, lanes_at<T>(i, n));
    const T mean = sum<T>(total) / n;
    for (int64_t i = 0; i < n; i += W) {
        const int lanes = lanes_at<T>(i, n);
        const Vec<T> d = first<T>(load(x + i, lanes) - mean, lanes);
        squares += d * d;
    }
    return {mean, T(1) / std::sqrt(sum<T>(squares) / n + eps)};
}

// (x - mean) · inverse · gamma + beta for n values, C vectors that stay in registers; zeros behind.
template <class T, int C> inline Moments<T> normalise(const T *x, int64_t n, const T *gamma, const T *beta, T eps, T *to) {
    constexpr int W = Simd<T>::W;
    const int tail = (int)n - (C - 1) * W;
    auto lanes = [&](int c) { return c < C - 1 ? W : tail; };
    Vec<T> v[C], total = {}, squares = {};
    for (int c = 0; c < C; c++) v[c] = load(x + c * W, lanes(c)), total += v[c];
    const T mean = sum<T>(total) / n;
    for (int c = 0; c < C; c++) {
        v[c] -= mean;
        if (c == C - 1) v[c] = first<T>(v[c], tail);
        squares += v[c] * v[c];
    }
    const T inverse = T(1) / std::sqrt(sum<T>(squares) / n + eps);
    for (int c = 0; c < C; c++) store(to + c * W, v[c] * inverse * load(gamma + c * W, lanes(c)) + load(beta + c * W, lanes(c)));
    return {mean, inverse};
}
template <class T> inline Moments<T> normalise(const T *x, int64_t n, const T *gamma, const T *beta, T eps, T *to) {
    constexpr int W = Simd<T>::W;
    switch ((n + W - 1) / W) {
    case 1: return normalise<T, 1>(x, n, gamma, beta, eps, to);
    case 2: return normalise<T, 2>(x, n, gamma, beta, eps, to);
    case 3: return normalise<T, 3>(x, n, gamma, beta, eps, to);
    case 4: return normalise<T, 4>(x, n, gamma, beta, eps, to);
    }
    const Moments<T> m = moments(x, n, eps);
    for (int64_t i = 0; i < n; i += W) {
        const int lanes = lanes_at<T>(i, n);
        store(to + i, (load(x + i, lanes) - m.mean) * m.inverse * load(gamma + i, lanes) + load(beta + i, lanes));
    }
    return m;
}

template <class T> struct LinearBlock {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a;
    const int64_t in_wide, out_wide;
    const T *columns;  // (in, out_wide): the weight transposed, zeros behind
    std::vector<T> copy;
    const T *rows = nullptr;  // the staged tokens
    int64_t row = 0;          // and from one to the next
    Moments<T> moment[LINEAR_BLOCK];

    LinearBlock(const LinearArgs<T> &args, const T *weight)
        : a(args), in_wide(whole_vectors<T>(a.in)), out_wide(whole_vectors<T>(a.out)), columns(weight), copy(LINEAR_BLOCK * in_wide) {}

    // Tokens r0.., normalised if asked; zeros behind the last, and behind each if `padded`. Copied only if need be.
    void stage(int64_t r0, int64_t count, bool padded) {
        if (!a.gamma && count == LINEAR_BLOCK && (!padded || a.in == in_wide)) {
            rows = a.x + r0 * a.x_stride, row = a.x_stride;
            return;
        }
        rows = copy.data(), row = in_wide;
        for (int64_t r = 0; r < LINEAR_BLOCK; r++) {
            T *to = &copy[r * in_wide];
            if (r >= count) {
                std::fill(to, to + in_wide, T(0));
                continue;
            }
            const T *x = a.x + (r0 + r) * a.x_stride;
            if (a.gamma)
                moment[r] = normalise(x, a.in, a.gamma, a.beta, T(a.eps), to);
            else
                for (int64_t i = 0; i < a.in; i += W) store(to + i, load(x + i, lanes_at<T>(i, a.in)));
        }
    }

    // f(row, column, value) for each vector of the map of the staged tokens, before GELU.
    template <class F> void map(int64_t count, F &&f) {
        by_columns((int)(out_wide / W), [&](auto width, int first) {
            constexpr int C = decltype(width)::value;
            V start[C];
            for (int c = 0; c < C; c++) {
                const int64_t o = (first + c) * W;
                start[c] = a.bias ? load(a.bias + o, lanes_at<T>(o, a.out)) : V{};
            }
            for (int64_t r = 0; r < count; r += TILE_ROWS) {
                V sum[TILE_ROWS][C];
                for (int i = 0; i < TILE_ROWS; i++)
                    for (int c = 0; c < C; c++) sum[i][c] = start[c];
                product<T, C>(sum, rows + r * row, row, 1, columns + first * W, out_wide, a.in);
                for (int64_t i = 0; i < std::min<int64_t>(TILE_ROWS, count - r); i++)
                    for (int c = 0; c < C; c++) f(r + i, (int64_t)(first + c) * W, sum[i][c]);
            }
        });
    }
};

template <class T> std::vector<T> transposed(const T *weight, int64_t out, int64_t in) {
    const int64_t wide = whole_vectors<T>(out);
    std::vector<T> columns(in * wide);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) columns[i * wide + o] = weight[o * in + i];
    return columns;
}

template <class T> void linear_forward(const LinearArgs<T> &a) {
    const std::vector<T> columns = transposed(a.weight, a.out, a.in);
    mir::parallel((a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, a.threads, [&](int64_t task) {
        const int64_t r0 = task * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.rows - r0);
        LinearBlock<T> block(a, columns.data());
        block.stage(r0, count, false);
        block.map(count, [&](int64_t r, int64_t o, Vec<T> y) {
            const int lanes = lanes_at<T>(o, a.out);
            const int64_t at = (r0 + r) * a.out + o;
            if (a.gelu) y = gelu<T>(y);
            if (a.residual) y += load(a.residual + at, lanes);
            if (a.skip) y += load(a.skip + at, lanes) * load(a.scale + o, lanes);
            store(a.y + at, y, lanes);
        });
    });
}

// d, the gradient of a layer norm's output, becomes that of its input x; both whole vectors with zeros behind.
template <class T> inline void norm_backward(const T *gamma, int64_t n, Moments<T> m, const T *x, T *d, T *dgamma, T *dbeta) {
    constexpr int W = Simd<T>::W;
    Vec<T> total = {}, along = {};
    for (int64_t i = 0; i < n; i += W) {
        const int lanes = lanes_at<T>(i, n);
        const Vec<T> unit = (load(x + i, lanes) - m.mean) * m.inverse, dv = load(d + i), dn = dv * load(gamma + i, lanes);
        store(dgamma + i, load(dgamma + i) + dv * unit);
        store(dbeta + i, load(dbeta + i) + dv);
        store(d + i, dn);
        total += dn, along += dn * unit;
    }
    const T mean = sum<T>(total) / n, slope = sum<T>(along) / n;
    for (int64_t i = 0; i < n; i += W) {
        const Vec<T> unit = (load(x + i, lanes_at<T>(i, n)) - m.mean) * m.inverse;
        store(d + i, (load(d + i) - mean - unit * slope) * m.inverse);
    }
}

// Each part sums its tokens' share of the gradients of weights; the caller adds up the parts.
template <class T> void linear_backward(const LinearGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a = g.forward;
    const std::vector<T> columns = a.gelu ? transposed(a.weight, a.out, a.in) : std::vector<T>();
    const int64_t blocks = (a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, in_wide = whole_vectors<T>(a.in), out_wide = whole_vectors<T>(a.out);
    const int64_t out_tiles = (a.out + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, dy_wide = std::max(out_wide, out_tiles);
    std::vector<T> weight(a.out * in_wide);  // zeros behind
    for (int64_t o = 0; o < a.out; o++) std::copy(a.weight + o * a.in, a.weight + (o + 1) * a.in, &weight[o * in_wide]);
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        LinearBlock<T> block(a, columns.data());
        std::vector<T> dy(LINEAR_BLOCK * dy_wide), dx(LINEAR_BLOCK * in_wide), dw(out_tiles * in_wide);
        std::vector<T> sums(2 * out_wide + 2 * in_wide);
        T *dbias = sums.data(), *dscale = dbias + out_wide, *dgamma = dscale + out_wide, *dbeta = dgamma + in_wide;
        for (int64_t n = part * blocks / g.parts; n < (part + 1) * blocks / g.parts; n++) {
            const int64_t r0 = n * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.rows - r0);
            block.stage(r0, count, true);
            if (count < LINEAR_BLOCK) std::fill(dy.begin(), dy.end(), T(0));
            if (a.gelu) block.map(count, [&](int64_t r, int64_t o, V z) { store(&dy[r * dy_wide + o], gelu_slope<T>(z)); });
            for (int64_t r = 0; r < count; r++)
                for (int64_t o = 0; o < a.out; o += W) {
                    const int lanes = lanes_at<T>(o, a.out);
                    const int64_t at = (r0 + r) * a.out + o;
                    V d = load(g.dy + at, lanes);
                    if (a.skip) {
                        store(g.dskip + at, d * load(a.scale + o, lanes), lanes);
                        store(dscale + o, load(dscale + o) + d * load(a.skip + at, lanes));
                    }
                    if (a.gelu) d *= load(&dy[r * dy_wide + o]);
                    store(&dy[r * dy_wide + o], d);
                    store(dbias + o, load(dbias + o) + d);
                }
            by_columns((int)(in_wide / W), [&](auto width, int first) {
                constexpr int C = decltype(width)::value;
                for (int64_t r = 0; r < count; r += TILE_ROWS) {
                    V sum[TILE_ROWS][C] = {};
                    product<T, C>(sum, &dy[r * dy_wide], dy_wide, 1, &weight[first * W], in_wide, a.out);
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) store(&dx[(r + i) * in_wide + (first + c) * W], sum[i][c]);
                }
                for (int64_t o = 0; o < out_tiles; o += TILE_ROWS) {
                    V sum[TILE_ROWS][C];
                    T *to = &dw[o * in_wide + first * W];
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) sum[i][c] = load(to + i * in_wide + c * W);
                    product<T, C>(sum, &dy[o], 1, dy_wide, block.rows + first * W, block.row, count);
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) store(to + i * in_wide + c * W, sum[i][c]);
                }
            });
            for (int64_t r = 0; r < count; r++) {
                T *d = &dx[r * in_wide];
                if (a.gamma) norm_backward(a.gamma, a.in, block.moment[r], a.x + (r0 + r) * a.x_stride, d, dgamma, dbeta);
                for (int64_t i = 0; i < a.in; i += W) store(g.dx + (r0 + r) * a.in + i, load(d + i), lanes_at<T>(i, a.in));
            }
        }
        for (int64_t o = 0; o < a.out; o++) std::copy(&dw[o * in_wide], &dw[o * in_wide] + a.in, g.dweight + (part * a.out + o) * a.in);
        std::copy(dbias, dbias + a.out, g.dbias + part * a.out);
        if (a.skip) std::copy(dscale, dscale + a.out, g.dscale + part * a.out);
        if (a.gamma) std::copy(dgamma, dgamma + a.in, g.dgamma + part * a.in), std::copy(dbeta, dbeta + a.in, g.dbeta + part * a.in);
    });
}

}  // namespace MIR_ISA
