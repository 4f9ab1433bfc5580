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

#if MIR_REGISTERS == 32
constexpr int TILE_ROWS = 8, TILE_COLUMNS = 3;  // 24 sums
#else
constexpr int TILE_ROWS = 4, TILE_COLUMNS = 3;  // 12 sums
#endif
constexpr int LINEAR_BLOCK = 64;  // tokens

// sum[r][c] += Σ_k s[r, k] · v[k, c] for scalars s and vectors v: the one loop of every product below. A pointer to every third
// row, which the compiler must not trace to one another: offsets of eight rows would not stay in registers.
template <class T, int C>
inline void product(Vec<T> (&sum)[TILE_ROWS][C], const T *s, int64_t s_row, int64_t s_step, const T *v, int64_t v_step, int64_t count) {
    constexpr int POINTERS = (TILE_ROWS + 2) / 3;
    const T *rows[POINTERS];
#pragma GCC unroll 3
    for (int p = 0; p < POINTERS; p++) {
        rows[p] = s + 3 * p * s_row;
        asm("" : "+r"(rows[p]));
    }
    for (int64_t k = 0; k < count; k++, v += v_step) {
        Vec<T> x[C];
        for (int c = 0; c < C; c++) x[c] = load(v + c * Simd<T>::W);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < C; c++) sum[r][c] += x[c] * rows[r / 3][r % 3 * s_row];
#pragma GCC unroll 3
        for (int p = 0; p < POINTERS; p++) rows[p] += s_step;
    }
}

// Calls f(columns, first vector) over `vectors` of them, as many at a time as the registers take.
template <class F> inline void by_columns(int vectors, F &&f) {
    int v = 0;
    for (; v + TILE_COLUMNS <= vectors && vectors - v != 4; v += TILE_COLUMNS) f(std::integral_constant<int, TILE_COLUMNS>{}, v);
    for (; v + 2 <= vectors; v += 2) f(std::integral_constant<int, 2>{}, v);
    if (vectors - v == 1) f(std::integral_constant<int, 1>{}, v);
}

template <class T> inline int64_t whole_vectors(int64_t n) { return (n + Simd<T>::W - 1) / Simd<T>::W * Simd<T>::W; }

// Lanes of the vector at column i of n that hold something.
template <class T> inline int lanes_at(int64_t i, int64_t n) { return (int)std::min<int64_t>(Simd<T>::W, n - i); }

// Mean and one over the standard deviation of some values.
template <class T> struct Moments {
    T mean, inverse;
};

// f(i, lanes) for each vector of n values, the whole ones apart.
template <class T, class F> inline void by_vectors(int64_t n, F &&f) {
    constexpr int W = Simd<T>::W;
    int64_t i = 0;
    for (; i + W <= n; i += W) f(i, std::integral_constant<int, W>{});
    if (i < n) f(i, (int)(n - i));
}

// As many tokens at a time as add up their lanes together.
template <class T> constexpr int NORM_TOKENS = std::min(8, Simd<T>::W);

template <class T> struct NormTokens {
    static constexpr int N = NORM_TOKENS<T>;
    using V = Vec<T>;
    const T *x[N];
    T mean[Simd<T>::W], inverse[Simd<T>::W];

    void find(int64_t n, T eps) {
        V total[N] = {}, squares[N] = {};
        by_vectors<T>(n, [&](int64_t i, int lanes) {
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) total[r] += load(x[r] + i, lanes);
        });
        store(mean, sums<T, N>(total) / T(n));
        by_vectors<T>(n, [&](int64_t i, int lanes) {
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) {
                const V d = first<T>(load(x[r] + i, lanes) - mean[r], lanes);
                squares[r] += d * d;
            }
        });
        store(inverse, T(1) / square_root<T>(sums<T, N>(squares) / T(n) + eps));
    }
};

// Moments of n values each of `count` tokens: where(r) is where token r lies.
template <class T, class X> inline void moments(int64_t count, int64_t n, T eps, X &&where, Moments<T> *moment) {
    constexpr int N = NORM_TOKENS<T>;
    for (int64_t r0 = 0; r0 < count; r0 += N) {
        NormTokens<T> t;
        for (int r = 0; r < N; r++) t.x[r] = where(std::min(r0 + r, count - 1));
        t.find(n, eps);
        for (int r = 0; r < N && r0 + r < count; r++) moment[r0 + r] = {t.mean[r], t.inverse[r]};
    }
}

// The same (for `moment` null, not kept), and (x - mean) · inverse · gamma + beta, whole vectors with zeros behind, to to(r).
template <class T, class X, class Y>
inline void normalise(int64_t count, int64_t n, const T *gamma, const T *beta, T eps, X &&where, Y &&to, Moments<T> *moment) {
    constexpr int N = NORM_TOKENS<T>;
    for (int64_t r0 = 0; r0 < count; r0 += N) {
        NormTokens<T> t;
        T *y[N];
        for (int r = 0; r < N; r++) t.x[r] = where(std::min(r0 + r, count - 1)), y[r] = to(std::min(r0 + r, count - 1));
        t.find(n, eps);
        by_vectors<T>(n, [&](int64_t i, int lanes) {
            const Vec<T> g = load(gamma + i, lanes), b = load(beta + i, lanes);
#pragma GCC unroll 8
            for (int r = 0; r < N; r++) store(y[r] + i, (load(t.x[r] + i, lanes) - t.mean[r]) * t.inverse[r] * g + b);
        });
        for (int r = 0; moment && r < N && r0 + r < count; r++) moment[r0 + r] = {t.mean[r], t.inverse[r]};
    }
}

template <class T> struct LinearBlock {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a;
    const int64_t in_wide, out_wide;
    const T *columns;  // panels of the weight
    Scratch<T> copy;
    const T *rows = nullptr;  // the staged tokens
    int64_t row = 0;          // and from one to the next
    Moments<T> moment[LINEAR_BLOCK];

    LinearBlock(const LinearArgs<T> &args, const T *weight)
        : a(args), in_wide(whole_vectors<T>(a.in)), out_wide(whole_vectors<T>(a.out)), columns(weight), copy(LINEAR_BLOCK * in_wide) {}

    // Tokens r0.., normalised if asked; zeros behind the last, and behind each if `padded`. Copied only if need be.
    void stage(int64_t r0, int64_t count, bool padded) {
        if (!a.gamma && count == LINEAR_BLOCK && (!padded || a.in == in_wide))
            view(a.x + r0 * a.x_stride, a.x_stride);
        else
            gather(count, [&](int64_t r) { return a.x + (r0 + r) * a.x_stride; });
    }
    void view(const T *from, int64_t step) { rows = from, row = step; }
    // The same for tokens anywhere: where(r) is where token r lies.
    template <class F> void gather(int64_t count, F &&where) {
        view(copy.data(), in_wide);
        auto to = [&](int64_t r) { return copy.data() + r * in_wide; };
        if (a.gamma)
            normalise(count, a.in, a.gamma, a.beta, T(a.eps), where, to, moment);
        else
            for (int64_t r = 0; r < count; r++)
                for (int64_t i = 0; i < a.in; i += W) store(to(r) + i, load(where(r) + i, lanes_at<T>(i, a.in)));
        std::fill(to(count), to(LINEAR_BLOCK), T(0));
    }

    // emit(row, column, lanes, value) for each vector of the map of the staged tokens, before GELU. A long emit would push the
    // sums out of the registers where its loop is unrolled.
    template <bool LONG, class F> void map(int64_t count, F &&emit) const {
        const T *from = rows, *weight = columns, *bias = a.bias;
        const int64_t step = row, in = a.in, out = a.out, wide = out_wide;  // in registers: a store may change any member
        by_columns((int)(wide / W), [&](auto width, int first) {
            constexpr int C = decltype(width)::value;
            const int64_t o = first * W;
            const int tail = lanes_at<T>(o + (C - 1) * W, out);
            auto lanes = [&](int c) { return c < C - 1 ? W : tail; };
            for (int64_t r = 0; r < count; r += TILE_ROWS) {
                V start[C], sum[TILE_ROWS][C];
                for (int c = 0; c < C; c++) start[c] = bias ? load(bias + o + c * W, lanes(c)) : V{};
#pragma GCC unroll 8
                for (int i = 0; i < TILE_ROWS; i++)
                    for (int c = 0; c < C; c++) sum[i][c] = start[c];
                product<T, C>(sum, from + r * step, step, 1, weight + o * in, C * W, in);
                auto emit_row = [&](int i) {
                    if (r + i < count)
                        for (int c = 0; c < C; c++) emit(r + i, o + c * W, lanes(c), sum[i][c]);
                };
                if constexpr (LONG) {
#pragma GCC unroll 1
                    for (int i = 0; i < TILE_ROWS; i++) emit_row(i);
                } else {
#pragma GCC unroll 8
                    for (int i = 0; i < TILE_ROWS; i++) emit_row(i);
                }
            }
        });
    }
};

// A weight (out, in) as the products read it: for each of by_columns' groups of C vectors of outputs, (in, C · W) without gaps,
// zeros behind the last output.
template <class T> Scratch<T> panels(const T *weight, int64_t out, int64_t in) {
    constexpr int W = Simd<T>::W;
    Scratch<T> packed(in * whole_vectors<T>(out));
    by_columns((int)(whole_vectors<T>(out) / W), [&](auto width, int first) {
        constexpr int C = decltype(width)::value;
        T *to = packed.data() + first * W * in;
        for (int c = 0; c < C; c++)
            for (int64_t i = 0; i < in; i += W) {
                const int lanes = lanes_at<T>(i, in);
                Vec<T> v[W];
                for (int l = 0; l < W; l++) {
                    const int64_t o = (first + c) * W + l;
                    v[l] = o < out ? load(weight + o * in + i, lanes) : Vec<T>{};
                }
                transpose<T>(v);
                for (int l = 0; l < lanes; l++) store(to + ((i + l) * C + c) * W, v[l]);
            }
    });
    return packed;
}

// What becomes of each vector of the map, known to the compiler: sums stay in registers.
template <class T, bool GELU, bool RESIDUAL, bool SKIP> void linear_forward_as(const LinearArgs<T> &a) {
    using V = Vec<T>;
    const Scratch<T> columns = panels(a.weight, a.out, a.in);
    mir::parallel((a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, a.threads, [&](int64_t task) {
        const int64_t r0 = task * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.rows - r0), out = a.out;
        T *y = a.y + r0 * out;
        const T *residual = a.residual + (RESIDUAL ? r0 * out : 0), *skip = a.skip + (SKIP ? r0 * out : 0), *scale = a.scale;
        LinearBlock<T> block(a, columns.data());
        block.stage(r0, count, false);
        block.template map<GELU>(count, [=](int64_t r, int64_t o, int lanes, V v) {
            const int64_t at = r * out + o;
            if (GELU) v = gelu<T>(v);
            if (RESIDUAL) v += load(residual + at, lanes);
            if (SKIP) v += load(skip + at, lanes) * load(scale + o, lanes);
            store(y + at, v, lanes);
        });
    });
}

template <class T> void linear_forward(const LinearArgs<T> &a) {
    constexpr void (*FUNCTIONS[])(const LinearArgs<T> &) = {
        linear_forward_as<T, false, false, false>, linear_forward_as<T, false, false, true>,
        linear_forward_as<T, false, true, false>,  linear_forward_as<T, false, true, true>,
        linear_forward_as<T, true, false, false>,  linear_forward_as<T, true, false, true>,
        linear_forward_as<T, true, true, false>,   linear_forward_as<T, true, true, true>,
    };
    FUNCTIONS[4 * !!a.gelu + 2 * !!a.residual + !!a.skip](a);
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

// A gradient of weights, summed by parts of the tokens: the same sums on any number of threads.
template <class T> struct Parts {
    T *const total;
    const int64_t parts, size;
    Scratch<T> room;
    Parts(T *to, int64_t count, int64_t n) : total(to), parts(count), size(n), room(count > 1 ? count * n : 0) {}
    T *of(int64_t part) { return parts > 1 ? room.data() + part * size : total; }
    void add_up() {
        if (parts <= 1) return;
        std::copy(room.data(), room.data() + size, total);
        for (int64_t p = 1; p < parts; p++)
            for (int64_t i = 0; i < size; i++) total[i] += room[p * size + i];
    }
};

template <class T> void linear_backward(const LinearGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a = g.forward;
    const Scratch<T> columns = a.gelu ? panels(a.weight, a.out, a.in) : Scratch<T>();
    const int64_t blocks = (a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, in_wide = whole_vectors<T>(a.in), out_wide = whole_vectors<T>(a.out);
    const int64_t out_tiles = (a.out + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, dy_wide = std::max(out_wide, out_tiles);
    Scratch<T> weight(a.out * in_wide);  // for each of by_columns' groups of C vectors of inputs (out, C · W), zeros behind
    by_columns((int)(in_wide / W), [&](auto width, int first) {
        constexpr int C = decltype(width)::value;
        for (int64_t o = 0; o < a.out; o++)
            for (int64_t c = 0; c < C; c++) {
                const int64_t i = (first + c) * W;
                store(&weight[(first * a.out + o * C + c) * W], load(a.weight + o * a.in + i, lanes_at<T>(i, a.in)));
            }
    });
    const int64_t normed = a.gamma ? a.in : 0, scaled = a.skip ? a.out : 0;
    Parts<T> dweights(g.dweight, g.parts, a.out * a.in), dbiases(g.dbias, g.parts, a.out), dgammas(g.dgamma, g.parts, normed);
    Parts<T> dbetas(g.dbeta, g.parts, normed), dscales(g.dscale, g.parts, scaled);
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        LinearBlock<T> block(a, columns.data());
        Buffer<T> dy(LINEAR_BLOCK * dy_wide), dx(LINEAR_BLOCK * in_wide), dw(out_tiles * in_wide);
        Buffer<T> sums(2 * out_wide + 2 * in_wide);
        T *dbias = sums.data(), *dscale = dbias + out_wide, *dgamma = dscale + out_wide, *dbeta = dgamma + in_wide;
        for (int64_t n = part * blocks / g.parts; n < (part + 1) * blocks / g.parts; n++) {
            const int64_t r0 = n * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.rows - r0);
            block.stage(r0, count, true);
            if (count < LINEAR_BLOCK) std::fill(dy.begin(), dy.end(), T(0));
            if (a.gelu) block.template map<false>(count, [&](int64_t r, int64_t o, int, V z) { store(&dy[r * dy_wide + o], z); });
            for (int64_t r = 0; r < count; r++)
                for (int64_t o = 0; o < a.out; o += W) {
                    const int lanes = lanes_at<T>(o, a.out);
                    const int64_t at = (r0 + r) * a.out + o;
                    V d = load(g.dy + at, lanes);
                    if (a.skip) {
                        store(g.dskip + at, d * load(a.scale + o, lanes), lanes);
                        store(dscale + o, load(dscale + o) + d * load(a.skip + at, lanes));
                    }
                    if (a.gelu) d *= gelu_slope<T>(load(&dy[r * dy_wide + o], lanes));
                    store(&dy[r * dy_wide + o], d);
                    store(dbias + o, load(dbias + o) + d);
                }
            by_columns((int)(in_wide / W), [&](auto width, int first) {
                constexpr int C = decltype(width)::value;
                for (int64_t r = 0; r < count; r += TILE_ROWS) {
                    V sum[TILE_ROWS][C] = {};
                    product<T, C>(sum, &dy[r * dy_wide], dy_wide, 1, &weight[first * W * a.out], C * W, a.out);
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
                for (int64_t i = 0; i < a.in; i += W) {
                    const int lanes = lanes_at<T>(i, a.in);
                    const int64_t at = (r0 + r) * a.in + i;
                    store(g.dx + at, g.around ? load(d + i) + load(g.around + at, lanes) : load(d + i), lanes);
                }
            }
        }
        for (int64_t o = 0; o < a.out; o++) std::copy(&dw[o * in_wide], &dw[o * in_wide] + a.in, dweights.of(part) + o * a.in);
        std::copy(dbias, dbias + a.out, dbiases.of(part));
        std::copy(dscale, dscale + scaled, dscales.of(part));
        std::copy(dgamma, dgamma + normed, dgammas.of(part)), std::copy(dbeta, dbeta + normed, dbetas.of(part));
    });
    for (Parts<T> *sums : {&dweights, &dbiases, &dgammas, &dbetas, &dscales}) sums->add_up();
}

}  // namespace MIR_ISA
