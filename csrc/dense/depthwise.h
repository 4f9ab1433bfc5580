// Depthwise convolution with the layer norm before it and the gate behind it. A tile of the image with its border is
// copied into cache, channels along the lanes; 2×4 neighbours are summed at a time, so that what one loads the others
// use.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/norm.h"

namespace MIR_ISA {

using mir::DepthwiseArgs;

constexpr int64_t TILE_HEIGHT = 16, TILE_WIDTH = 32;
constexpr int ROWS = 2, NEIGHBOURS = 4;
static_assert(TILE_HEIGHT % ROWS == 0);  // so that no row is read below a tile and its border
constexpr int64_t CHUNK_BYTES = 384;     // of channels: fewer are slow to fetch, more leave the cache

// f(y, x, channel, lanes, Σ weight · input) for a block of height × width tokens. row(y): the first input that row y
// reads, one token every `step`; there are ROWS - 1 rows and NEIGHBOURS - 1 tokens more than the block needs. taps:
// (kernel², stride).
template <class T, int K, class R, class F>
inline void sum_taps(int64_t kernel, int64_t height, int64_t width, int64_t channels, R &&row, int64_t step,
                     const T *taps, int64_t stride, F &&f) {
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
                const int64_t rows = std::min<int64_t>(ROWS, height - y),
                              count = std::min<int64_t>(NEIGHBOURS, width - x);
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
          x_channels(a.mode == mir::GATED ? 2 * a.channels : a.channels),
          chunk_wide(std::min<int64_t>(wide, CHUNK_BYTES / sizeof(T))), staged(area() * chunk_wide),
          moment(a.gamma ? area() : 0) {}

    int64_t area() const { return (TILE_HEIGHT + 2 * pad) * (TILE_WIDTH + 2 * pad + NEIGHBOURS); }
    int64_t rows() const { return (a.height + TILE_HEIGHT - 1) / TILE_HEIGHT; }
    int64_t columns() const { return (a.width + TILE_WIDTH - 1) / TILE_WIDTH; }
    int64_t tiles() const { return a.batch * rows() * columns(); }

    int64_t token(int64_t y, int64_t x) const { return (image * a.height + y0 + y) * a.width + x0 + x; }
    const T *input(int64_t y, int64_t x) const {
        return a.x + token(y, x) * x_channels + (a.mode == mir::GATED ? a.channels : 0);
    }
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
            moments(
                to - from, a.channels, T(a.eps), [&](int64_t x) { return input(y, from + x); },
                &moment[place(y, from)]);
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
                for (int64_t c = 0; c < channels; c += W)
                    store(&to[i * chunk_wide + c], value(y, x, i, c0 + c, lanes_at<T>(c, channels)));
            },
            [&](int64_t i) { std::fill(&to[i * chunk_wide], &to[i * chunk_wide] + chunk_wide, T(0)); });
    }
    void stage_input() {
        stage(staged, [&](int64_t y, int64_t x, int64_t i, int64_t c, int lanes) {
            V v = load(input(y, x) + c, lanes);
            if (a.gamma)
                v = (v - moment[i].mean) * moment[i].inverse * load(a.gamma + c, lanes) + load(a.beta + c, lanes);
            return v;
        });
    }

    // f(y, x, channel, lanes, Σ weight · staged) for the chunk; taps: (kernel², wide).
    template <class F> void convolve(const Scratch<T> &from, const T *taps, F &&f) const {
        const int64_t row = full_width * chunk_wide, first = c0;
        sum_taps<T, K>(
            kernel, height, width, channels, [=, &from](int64_t y) { return &from[y * row]; }, chunk_wide, taps + c0,
            wide, [&](int64_t y, int64_t x, int64_t c, int lanes, V z) { f(y, x, first + c, lanes, z); });
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
            tile.convolve(tile.staged, taps.data(),
                          [first = tile.token(0, 0), step = a.width, channels = a.channels, x_step = tile.x_channels,
                           from = a.x, bias = a.bias, conv = a.conv, to = a.y,
                           mode = a.mode](int64_t y, int64_t x, int64_t c, int lanes, Vec<T> z) {
                              const int64_t t = first + y * step + x;
                              z += load(bias + c, lanes);
                              store(conv + t * channels + c, z, lanes);
                              store(to + t * channels + c, joined_to<T>(mode, load(from + t * x_step + c, lanes), z),
                                    lanes);
                          });
        });
    });
}

template <class T> void depthwise_forward(const DepthwiseArgs<T> &a) {
    by_kernel(a.kernel, [&](auto k) { depthwise_forward_kernel<T, decltype(k)::value>(a); });
}

}  // namespace MIR_ISA
