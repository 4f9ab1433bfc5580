// Depthwise convolution with the layer norm before it and the gate behind it. A tile of the image with its border is copied
// into cache, channels along the lanes; 2×4 neighbours are summed at a time, so that what one loads the others use.
#pragma once
#include <algorithm>
#include <vector>

#include "args.h"
#include "linear.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::DepthwiseArgs;
using mir::DepthwiseGradArgs;

constexpr int64_t TILE_HEIGHT = 16, TILE_WIDTH = 32;
constexpr int ROWS = 2, NEIGHBOURS = 4;
static_assert(TILE_HEIGHT % ROWS == 0);  // so that no row is read below a tile and its border
constexpr int64_t CHUNK_BYTES = 384;  // of channels: fewer are slow to fetch, more leave the cache

// f(y, x, channel, lanes, Σ weight · input) for a block of height × width tokens. row(y): the first input that row y reads, one token
// every `step`; there are ROWS - 1 rows and NEIGHBOURS - 1 tokens more than the block needs. taps: (kernel², stride).
template <class T, int K, class R, class F>
inline void sum_taps(int64_t kernel, int64_t height, int64_t width, int64_t channels, R &&row, int64_t step, const T *taps, int64_t stride, F &&f) {
    const int64_t size = K ? K : kernel;
    for (int64_t y = 0; y < height; y += ROWS)
        for (int64_t x = 0; x < width; x += NEIGHBOURS)
            for (int64_t c = 0; c < channels; c += Simd<T>::W) {
                Vec<T> sum[ROWS][NEIGHBOURS] = {};
                const T *tap = taps + c;
#pragma GCC unroll 6
                for (int64_t ky = 0; ky < size + ROWS - 1; ky++) {
                    const T *read = row(y + ky) + x * step + c;
#pragma GCC unroll 5
                    for (int64_t kx = 0; kx < size; kx++) {
                        Vec<T> v[NEIGHBOURS];
                        for (int n = 0; n < NEIGHBOURS; n++) v[n] = load(read + (kx + n) * step);
                        for (int r = 0; r < ROWS; r++) {
                            if (ky < r || ky - r >= size) continue;
                            const Vec<T> w = load(tap + ((ky - r) * size + kx) * stride);
                            for (int n = 0; n < NEIGHBOURS; n++) sum[r][n] += v[n] * w;
                        }
                    }
                }
                const int lanes = lanes_at<T>(c, channels);
                const int64_t rows = std::min<int64_t>(ROWS, height - y), count = std::min<int64_t>(NEIGHBOURS, width - x);
                for (int64_t r = 0; r < rows; r++)
                    for (int64_t n = 0; n < count; n++) f(y + r, x + n, c, lanes, sum[r][n]);
            }
}

template <class T, int K> struct DepthwiseTile {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const DepthwiseArgs<T> &a;
    const int64_t kernel, pad, wide, x_channels, chunk_wide;
    Scratch<T> staged;
    std::vector<Moments<T>> moment;
    int64_t image = 0, y0 = 0, x0 = 0, height = 0, width = 0, full_width = 0;
    int64_t c0 = 0, channels = 0;  // of the chunk

    explicit DepthwiseTile(const DepthwiseArgs<T> &args)
        : a(args), kernel(K ? K : args.kernel), pad(kernel / 2), wide(whole_vectors<T>(a.channels)),
          x_channels(a.mode == mir::GATED ? 2 * a.channels : a.channels), chunk_wide(std::min<int64_t>(wide, CHUNK_BYTES / sizeof(T))),
          staged(area() * chunk_wide), moment(a.gamma ? area() : 0) {}

    int64_t area() const { return (TILE_HEIGHT + 2 * pad) * (TILE_WIDTH + 2 * pad + NEIGHBOURS); }
    int64_t rows() const { return (a.height + TILE_HEIGHT - 1) / TILE_HEIGHT; }
    int64_t columns() const { return (a.width + TILE_WIDTH - 1) / TILE_WIDTH; }
    int64_t tiles() const { return a.batch * rows() * columns(); }

    int64_t token(int64_t y, int64_t x) const { return (image * a.height + y0 + y) * a.width + x0 + x; }
    const T *input(int64_t y, int64_t x) const { return a.x + token(y, x) * x_channels + (a.mode == mir::GATED ? a.channels : 0); }
    int64_t place(int64_t y, int64_t x) const { return (y + pad) * full_width + x + pad; }

    void go_to(int64_t tile) {
        image = tile / (rows() * columns());
        y0 = tile / columns() % rows() * TILE_HEIGHT, x0 = tile % columns() * TILE_WIDTH;
        height = std::min(TILE_HEIGHT, a.height - y0), width = std::min(TILE_WIDTH, a.width - x0);
        full_width = width + 2 * pad + NEIGHBOURS;
    }
    void find_moments() {
        if (!a.gamma) return;
        for (int64_t y = std::max(-pad, -y0); y < std::min(height + pad, a.height - y0); y++) {
            const int64_t from = std::max(-pad, -x0), to = std::min(width + pad, a.width - x0);
            moments(to - from, a.channels, T(a.eps), [&](int64_t x) { return input(y, from + x); }, &moment[place(y, from)]);
        }
    }
    template <class F> void by_chunks(F &&f) {
        for (c0 = 0; c0 < a.channels; c0 += chunk_wide) {
            channels = std::min(chunk_wide, a.channels - c0);
            f();
        }
    }
    template <class F, class O> void everywhere(F &&f, O &&outside) {
        const int64_t first = std::max(-pad, -x0), last = std::min(width + pad, a.width - x0);
        for (int64_t y = -pad; y < height + pad; y++) {
            const int64_t row = place(y, 0);
            const bool inside = y0 + y >= 0 && y0 + y < a.height;
            const int64_t from = inside ? first : last;
            for (int64_t x = -pad; x < from; x++) outside(row + x);
            for (int64_t x = from; x < last; x++) f(y, x, row + x);
            for (int64_t x = last; x < width + pad + NEIGHBOURS; x++) outside(row + x);
        }
    }

    // Fills `to` with value(y, x, place, channel, lanes) of the chunk, zeros outside the image.
    template <class F> void stage(Scratch<T> &to, F &&value) {
        everywhere(
            [&](int64_t y, int64_t x, int64_t i) {
                for (int64_t c = 0; c < channels; c += W) store(&to[i * chunk_wide + c], value(y, x, i, c0 + c, lanes_at<T>(c, channels)));
            },
            [&](int64_t i) { std::fill(&to[i * chunk_wide], &to[i * chunk_wide] + chunk_wide, T(0)); });
    }
    void stage_input() {
        stage(staged, [&](int64_t y, int64_t x, int64_t i, int64_t c, int lanes) {
            V v = load(input(y, x) + c, lanes);
            if (a.gamma) v = (v - moment[i].mean) * moment[i].inverse * load(a.gamma + c, lanes) + load(a.beta + c, lanes);
            return v;
        });
    }

    // f(y, x, channel, lanes, Σ weight · staged) for the chunk; taps: (kernel², wide).
    template <class F> void convolve(const Scratch<T> &from, const T *taps, F &&f) const {
        const int64_t row = full_width * chunk_wide, first = c0;
        sum_taps<T, K>(kernel, height, width, channels, [=, &from](int64_t y) { return &from[y * row]; }, chunk_wide, taps + c0, wide,
                       [&](int64_t y, int64_t x, int64_t c, int lanes, V z) { f(y, x, first + c, lanes, z); });
    }
};

// (channels, kernel²) to (kernel², wide), backwards if asked.
template <class T> Buffer<T> taps_of(const DepthwiseArgs<T> &a, bool backwards) {
    const int64_t count = a.kernel * a.kernel, wide = whole_vectors<T>(a.channels);
    Buffer<T> taps(count * wide);
    for (int64_t c = 0; c < a.channels; c++)
        for (int64_t t = 0; t < count; t++) taps[(backwards ? count - 1 - t : t) * wide + c] = a.weight[c * count + t];
    return taps;
}

// What the convolution's result z is joined to.
template <class T> inline Vec<T> joined_to(int32_t mode, Vec<T> u, Vec<T> z) {
    return mode == mir::GATED ? u * z : mode == mir::SIGMOID ? u * sigmoid<T>(z) : u + gelu<T>(z);
}

// f(K) for a kernel size that the compiler knows, or 0.
template <class F> inline void by_kernel(int64_t kernel, F &&f) {
    if (kernel == 3)
        f(std::integral_constant<int, 3>{});
    else if (kernel == 5)
        f(std::integral_constant<int, 5>{});
    else
        f(std::integral_constant<int, 0>{});
}

template <class T, int K> void depthwise_forward_kernel(const DepthwiseArgs<T> &a) {
    const Buffer<T> taps = taps_of(a, false);
    mir::parallel(DepthwiseTile<T, K>(a).tiles(), a.threads, [&](int64_t task) {
        DepthwiseTile<T, K> tile(a);
        tile.go_to(task);
        tile.find_moments();
        tile.by_chunks([&] {
            tile.stage_input();
            // By value: a store may change any member.
            tile.convolve(tile.staged, taps.data(), [first = tile.token(0, 0), step = a.width, channels = a.channels, x_step = tile.x_channels,
                                                     from = a.x, bias = a.bias, conv = a.conv, to = a.y, mode = a.mode](int64_t y, int64_t x, int64_t c, int lanes, Vec<T> z) {
                const int64_t t = first + y * step + x;
                z += load(bias + c, lanes);
                store(conv + t * channels + c, z, lanes);
                store(to + t * channels + c, joined_to<T>(mode, load(from + t * x_step + c, lanes), z), lanes);
            });
        });
    });
}

// Rows of taps whose gradients are summed at a time: all of them where the registers take them.
template <int K> constexpr int TAP_ROWS = K && K * K + 4 <= MIR_REGISTERS ? K : 1;

// dtaps (kernel², wide) += Σ dconv · staged for some rows of taps from ky on, one vector of channels at c; dbias += Σ dconv once.
template <class T, int K>
void add_taps(const DepthwiseTile<T, K> &tile, const Scratch<T> &dconv, int64_t ky, int64_t c, T *dtaps, T *dbias) {
    constexpr int MOST = K ? K : 16, R = TAP_ROWS<K>;
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
        T *dtaps = sums.data(), *dbias = dtaps + count * tile.wide, *dgamma = dbias + tile.wide, *dbeta = dgamma + tile.wide;
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
                        store(a.gamma ? &dv[(y * TILE_WIDTH + x) * tile.wide + c] : to + a.channels, dx, a.gamma ? W : lanes);
                    }
                });
                tile.stage_input();
                for (int64_t c = 0; c < tile.channels; c += W)
                    for (int64_t ky = 0; ky < tile.kernel; ky += TAP_ROWS<K>) add_taps<T, K>(tile, dconv, ky, c, dtaps, dbias);
            });
            if (a.gamma)
                for (int64_t y = 0; y < tile.height; y++)
                    for (int64_t x = 0; x < tile.width; x++) {
                        T *d = &dv[(y * TILE_WIDTH + x) * tile.wide];
                        norm_backward(a.gamma, a.channels, tile.moment[tile.place(y, x)], tile.input(y, x), d, dgamma, dbeta);
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

template <class T> void depthwise_forward(const DepthwiseArgs<T> &a) {
    by_kernel(a.kernel, [&](auto k) { depthwise_forward_kernel<T, decltype(k)::value>(a); });
}

template <class T> void depthwise_backward(const DepthwiseGradArgs<T> &g) {
    by_kernel(g.forward.kernel, [&](auto k) { depthwise_backward_kernel<T, decltype(k)::value>(g); });
}

}  // namespace MIR_ISA
