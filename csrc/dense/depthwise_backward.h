// The gradients of a depthwise convolution.
#pragma once
#include <algorithm>
#include <cstdint>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/depthwise.h"
#include "dense/norm.h"
#include "dense/parts.h"

namespace MIR_ISA {

using mir::DepthwiseGradArgs;

// Rows of taps whose gradients are summed at a time: all of them where the registers take them.
template <int K> constexpr int TAP_ROWS = K && K * K + 4 <= MIR_REGISTERS ? K : 1;

// dtaps (kernel², wide) += Σ dconv · staged for some rows of taps from ky on, one vector of channels at c; dbias += Σ
// dconv once.
template <class T, int K>
void add_taps(const DepthwiseTile<T, K> &tile, const Scratch<T> &dconv, int64_t ky, int64_t c, T *dtaps, T *dbias) {
    constexpr int MOST = K ? K : mir::MAX_KERNEL, R = TAP_ROWS<K>;
    const int64_t kernel = K ? K : tile.kernel, step = tile.chunk_wide, row = tile.full_width * step;
    Vec<T> sum[R][MOST] = {}, total = {};
    for (int64_t y = 0; y < tile.height; y++) {
        const T *from = &tile.staged[(y + ky) * row + c], *d = &dconv[tile.place(y, 0) * step + c];
        for (int64_t x = 0; x < tile.width; x++, from += step, d += step) {
            const Vec<T> dz = load(d);
            total += dz;
#pragma GCC unroll 5
            for (int r = 0; r < R; r++)
#pragma GCC unroll 5
                for (int64_t kx = 0; kx < kernel; kx++) sum[r][kx] += dz * load(from + r * row + kx * step);
        }
    }
    for (int r = 0; r < R; r++)
        for (int64_t kx = 0; kx < kernel; kx++) {
            T *to = dtaps + ((ky + r) * kernel + kx) * tile.wide + tile.c0 + c;
            store(to, load(to) + sum[r][kx]);
        }
    if (ky == 0) store(dbias + tile.c0 + c, load(dbias + tile.c0 + c) + total);
}

template <class T, int K> void depthwise_backward_kernel(const DepthwiseGradArgs<T> &g) {
    constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const DepthwiseArgs<T> &a = g.forward;
    using Tile = DepthwiseTile<T, K>;
    const Buffer<T> taps = taps_of(a, true);
    const int64_t tiles = Tile(a).tiles(), count = a.kernel * a.kernel, normed = a.gamma ? a.channels : 0;
    Parts<T> dweights(g.dweight, g.parts, a.channels * count), dbiases(g.dbias, g.parts, a.channels);
    Parts<T> dgammas(g.dgamma, g.parts, normed), dbetas(g.dbeta, g.parts, normed);
    mir::parallel(g.parts, a.threads, [&](int64_t part) {
        Tile tile(a);
        Scratch<T> dconv(tile.area() * tile.chunk_wide), dv(a.gamma ? TILE_HEIGHT * TILE_WIDTH * tile.wide : 0);
        Buffer<T> sums((count + 3) * tile.wide);
        T *dtaps = sums.data(), *dbias = dtaps + count * tile.wide, *dgamma = dbias + tile.wide,
          *dbeta = dgamma + tile.wide;
        for (int64_t n = part * tiles / g.parts; n < (part + 1) * tiles / g.parts; n++) {
            tile.go_to(n);
            tile.find_moments();
            tile.by_chunks([&] {
                tile.stage(dconv, [&](int64_t y, int64_t x, int64_t, int64_t c, int lanes) {
                    const int64_t t = tile.token(y, x);
                    const V dy = load(g.dy + t * a.channels + c, lanes);
                    if (a.mode == mir::GATED) return dy * load(a.x + t * tile.x_channels + c, lanes);
                    const V z = load(a.conv + t * a.channels + c, lanes);
                    if (a.mode == mir::GELU) return dy * gelu_slope<T>(z);
                    const V s = sigmoid<T>(z);
                    return dy * load(a.x + t * a.channels + c, lanes) * s * (1 - s);
                });
                tile.convolve(dconv, taps.data(), [&](int64_t y, int64_t x, int64_t c, int lanes, V dx) {
                    const int64_t t = tile.token(y, x);
                    const V dy = load(g.dy + t * a.channels + c, lanes);
                    T *to = g.dx + t * tile.x_channels + c;
                    if (a.mode == mir::GELU) {
                        store(to, dx + dy, lanes);
                        return;
                    }
                    const V z = load(a.conv + t * a.channels + c, lanes);
                    if (a.mode == mir::SIGMOID) {
                        store(to, dx + dy * sigmoid<T>(z), lanes);
                    } else {
                        store(to, dy * z, lanes);
                        store(a.gamma ? &dv[(y * TILE_WIDTH + x) * tile.wide + c] : to + a.channels, dx,
                              a.gamma ? W : lanes);
                    }
                });
                tile.stage_input();
                for (int64_t c = 0; c < tile.channels; c += W)
                    for (int64_t ky = 0; ky < tile.kernel; ky += TAP_ROWS<K>)
                        add_taps<T, K>(tile, dconv, ky, c, dtaps, dbias);
            });
            if (a.gamma)
                for (int64_t y = 0; y < tile.height; y++)
                    for (int64_t x = 0; x < tile.width; x++) {
                        T *d = &dv[(y * TILE_WIDTH + x) * tile.wide];
                        norm_backward(a.gamma, a.channels, tile.moment[tile.place(y, x)], tile.input(y, x), d, dgamma,
                                      dbeta);
                        std::copy(d, d + a.channels, g.dx + tile.token(y, x) * tile.x_channels + a.channels);
                    }
        }
        for (int64_t c = 0; c < a.channels; c++)
            for (int64_t t = 0; t < count; t++) dweights.of(part)[c * count + t] = dtaps[t * tile.wide + c];
        std::copy(dbias, dbias + a.channels, dbiases.of(part));
        std::copy(dgamma, dgamma + normed, dgammas.of(part)), std::copy(dbeta, dbeta + normed, dbetas.of(part));
    });
    for (Parts<T> *sums : {&dweights, &dbiases, &dgammas, &dbetas}) sums->add_up();
}

template <class T> void depthwise_backward(const DepthwiseGradArgs<T> &g) {
    by_kernel(g.forward.kernel, [&](auto k) { depthwise_backward_kernel<T, decltype(k)::value>(g); });
}

}  // namespace MIR_ISA
