// The gradients of a linear map and of what surrounds it.
#pragma once
#include <algorithm>
#include <cstdint>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/parallel.h"
#include "dense/linear.h"
#include "dense/norm.h"
#include "dense/parts.h"
#include "dense/product.h"

namespace MIR_ISA {

using mir::LinearGradArgs;

template <class T> void linear_backward(const LinearGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const LinearArgs<T> &a = g.forward;
    const Scratch<T> columns = a.gelu ? panels(a.weight, a.out, a.in) : Scratch<T>();
    const int64_t blocks = (a.rows + LINEAR_BLOCK - 1) / LINEAR_BLOCK, in_wide = whole_vectors<T>(a.in),
                  out_wide = whole_vectors<T>(a.out);
    const int64_t out_tiles = (a.out + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, dy_wide = std::max(out_wide, out_tiles);
    Scratch<T> weight(a.out *
                      in_wide);  // for each of by_columns' groups of C vectors of inputs (out, C · W), zeros behind
    by_columns((int)(in_wide / W), [&](auto width, int first) {
        constexpr int C = decltype(width)::value;
        for (int64_t o = 0; o < a.out; o++)
            for (int64_t c = 0; c < C; c++) {
                const int64_t i = (first + c) * W;
                store(&weight[(first * a.out + o * C + c) * W], load(a.weight + o * a.in + i, lanes_at<T>(i, a.in)));
            }
    });
    const int64_t normed = a.gamma ? a.in : 0, scaled = a.skip ? a.out : 0;
    Parts<T> dweights(g.dweight, g.parts, a.out * a.in), dbiases(g.dbias, g.parts, a.out),
        dgammas(g.dgamma, g.parts, normed);
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
            if (a.gelu)
                block.template map<false>(count,
                                          [&](int64_t r, int64_t o, int, V z) { store(&dy[r * dy_wide + o], z); });
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
                    product<T, C, T>(sum, &dy[r * dy_wide], dy_wide, 1, &weight[first * W * a.out], C * W, a.out);
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) store(&dx[(r + i) * in_wide + (first + c) * W], sum[i][c]);
                }
                for (int64_t o = 0; o < out_tiles; o += TILE_ROWS) {
                    V sum[TILE_ROWS][C];
                    T *to = &dw[o * in_wide + first * W];
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) sum[i][c] = load(to + i * in_wide + c * W);
                    product<T, C, T>(sum, &dy[o], 1, dy_wide, block.rows + first * W, block.row, count);
                    for (int i = 0; i < TILE_ROWS; i++)
                        for (int c = 0; c < C; c++) store(to + i * in_wide + c * W, sum[i][c]);
                }
            });
            for (int64_t r = 0; r < count; r++) {
                T *d = &dx[r * in_wide];
                if (a.gamma)
                    norm_backward(a.gamma, a.in, block.moment[r], a.x + (r0 + r) * a.x_stride, d, dgamma, dbeta);
                for (int64_t i = 0; i < a.in; i += W) {
                    const int lanes = lanes_at<T>(i, a.in);
                    const int64_t at = (r0 + r) * a.in + i;
                    store(g.dx + at, g.around ? load(d + i) + load(g.around + at, lanes) : load(d + i), lanes);
                }
            }
        }
        for (int64_t o = 0; o < a.out; o++)
            std::copy(&dw[o * in_wide], &dw[o * in_wide] + a.in, dweights.of(part) + o * a.in);
        std::copy(dbias, dbias + a.out, dbiases.of(part));
        std::copy(dscale, dscale + scaled, dscales.of(part));
        std::copy(dgamma, dgamma + normed, dgammas.of(part)), std::copy(dbeta, dbeta + normed, dbetas.of(part));
    });
    for (Parts<T> *sums : {&dweights, &dbiases, &dgammas, &dbetas, &dscales}) sums->add_up();
}

}  // namespace MIR_ISA
