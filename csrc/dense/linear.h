// A linear map of tokens with what stands before and behind it: layer norm, the map, GELU, what is added. A block of
// tokens stays in cache through all of it, so each token is read once and written once.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "abi/structs.h"
#include "base/bfloat16.h"
#include "base/functions.h"
#include "base/parallel.h"
#include "dense/norm.h"
#include "dense/product.h"

namespace MIR_ISA {

using mir::LinearArgs;

// GELU, in half the time for maps of bfloat16.
template <class T, class F> inline Vec<T> activation(Vec<T> v) {
    if constexpr (std::is_same_v<T, F>)
        return gelu<T>(v);
    else
        return gelu_near(v);
}

// F: what is multiplied, T or bfloat16.
template <class T, class F = T> struct LinearBlock {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a;
    const int64_t in_wide, out_wide;
    const Factors<F> *columns;  // panels of the weight
    Scratch<F> copy;
    const F *rows = nullptr;  // the staged tokens
    int64_t row = 0;          // and from one to the next, whole steps
    Moments<T> moment[LINEAR_BLOCK];

    LinearBlock(const LinearArgs<T> &args, const Factors<F> *weight)
        : a(args), in_wide(whole_vectors<T>(a.in)), out_wide(whole_vectors<T>(a.out)), columns(weight),
          copy(LINEAR_BLOCK * in_wide) {}

    // Tokens r0.., normalised if asked; zeros behind the last, and behind each if `padded`. Copied only if need be.
    void stage(int64_t r0, int64_t count, bool padded) {
        if constexpr (std::is_same_v<T, F>)
            if (!a.gamma && count == LINEAR_BLOCK && (!padded || a.in == in_wide))
                return view(a.x + r0 * a.x_stride, a.x_stride);
        gather(count, [&](int64_t r) { return a.x + (r0 + r) * a.x_stride; });
    }
    void view(const F *from, int64_t step) { rows = from, row = step; }
    // The same for tokens anywhere: where(r) is where token r lies.
    template <class Where> void gather(int64_t count, Where &&where) {
        view(copy.data(), in_wide);
        auto to = [&](int64_t r) { return copy.data() + r * in_wide; };
        if (a.gamma)
            normalise(count, a.in, a.gamma, a.beta, T(a.eps), where, to, moment);
        else
            for (int64_t r = 0; r < count; r++)
                for (int64_t i = 0; i < a.in; i += W) store(to(r) + i, load(where(r) + i, lanes_at<T>(i, a.in)));
        std::fill(to(count), to(LINEAR_BLOCK), F{});
    }

    // emit(row, column, lanes, value) for each vector of the map of the staged tokens, before GELU. A long emit would
    // push the sums out of the registers where its loop is unrolled.
    template <bool LONG, class Emit> void map(int64_t count, Emit &&emit) const {
        using S = Factors<F>;
        const S *from = reinterpret_cast<const S *>(rows), *weight = columns;
        const T *bias = a.bias;
        const int64_t step = row / Step<F>::COUNT, in = steps_of<F>(a.in), out = a.out,
                      wide = out_wide;  // in registers: a store may change any member
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
                product<T, C, S>(sum, from + r * step, step, 1, weight + o * in, C * W, in);
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

// What becomes of each vector of the map, known to the compiler: sums stay in registers.
template <class T, class F, bool GELU, bool RESIDUAL, bool SKIP> void linear_forward_as(const LinearArgs<T> &a) {
    using V = Vec<T>;
    const Scratch<Factors<F>> columns = panels<T, F>(a.weight, a.out, a.in);
    mir::parallel((a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, a.threads, [&](int64_t task) {
        const int64_t r0 = task * LINEAR_BLOCK, count = std::min<int64_t>(LINEAR_BLOCK, a.rows - r0), out = a.out;
        T *y = a.y + r0 * out;
        const T *residual = a.residual + (RESIDUAL ? r0 * out : 0), *skip = a.skip + (SKIP ? r0 * out : 0),
                *scale = a.scale;
        LinearBlock<T, F> block(a, columns.data());
        block.stage(r0, count, false);
        block.template map<GELU>(count, [=](int64_t r, int64_t o, int lanes, V v) {
            const int64_t at = r * out + o;
            if (GELU) v = activation<T, F>(v);
            if (RESIDUAL) v += load(residual + at, lanes);
            if (SKIP) v += load(skip + at, lanes) * load(scale + o, lanes);
            store(y + at, v, lanes);
        });
    });
}

template <class T, class F = T> void linear_forward(const LinearArgs<T> &a) {
    constexpr void (*FUNCTIONS[])(const LinearArgs<T> &) = {
        linear_forward_as<T, F, false, false, false>, linear_forward_as<T, F, false, false, true>,
        linear_forward_as<T, F, false, true, false>,  linear_forward_as<T, F, false, true, true>,
        linear_forward_as<T, F, true, false, false>,  linear_forward_as<T, F, true, false, true>,
        linear_forward_as<T, F, true, true, false>,   linear_forward_as<T, F, true, true, true>,
    };
    FUNCTIONS[4 * !!a.gelu + 2 * !!a.residual + !!a.skip](a);
}

}  // namespace MIR_ISA
