// A linear map, a depthwise convolution and a linear map back, for inference. A band of rows goes through all three a
// few rows at a time; a ring of rows, as many as the convolution reads, stays in cache, and what lies between the maps
// is never written.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "abi/structs.h"
#include "base/functions.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dense/depthwise.h"
#include "dense/linear.h"

namespace MIR_ISA {

using mir::ConvBlockArgs;

constexpr int64_t RING_BYTES = 640 << 10;
constexpr int64_t BAND_HEIGHT = 32, LEAST_HEIGHT = 8;  // the rows around a band are mapped twice

// How an image is cut: into strips of columns, as wide as the ring allows, and bands of rows.
template <class T> struct Bands {
    const int64_t pad, wide,
        hidden_row;  // of a token in the ring: what the convolution reads; all of the first map, if it gates
    int64_t step, columns, width, rows, height;

    explicit Bands(const DepthwiseArgs<T> &a)
        : pad(a.kernel / 2), wide(whole_vectors<T>(a.channels)), hidden_row(a.mode == mir::GATED ? 2 * wide : 0) {
        step = ROWS * std::clamp<int64_t>(LINEAR_BLOCK / (ROWS * a.width), 1, 4);
        const int64_t fit =
            RING_BYTES / ((step + 2 * pad) * (wide + hidden_row) * (int64_t)sizeof(T)) - 2 * pad - NEIGHBOURS;
        width = even(a.width, std::max<int64_t>(fit, 16), NEIGHBOURS), columns = (a.width + width - 1) / width;
        const int64_t share = a.batch * columns * a.height / std::max(a.threads, 1);
        height = even(a.height, std::clamp(share, LEAST_HEIGHT, BAND_HEIGHT), ROWS),
        rows = (a.height + height - 1) / height;
    }
    // The least size of equal parts, each of at most `most`, in whole units.
    static int64_t even(int64_t n, int64_t most, int64_t unit) {
        const int64_t parts = std::max<int64_t>((n + most - 1) / most, 1), size = (n + parts - 1) / parts;
        return (size + unit - 1) / unit * unit;
    }
    int64_t ring() const { return step + 2 * pad; }
    int64_t full_width() const { return width + 2 * pad + NEIGHBOURS; }
};

// F: what the maps multiply, T or bfloat16.
template <class T, class F, int K> struct ConvBlockBand {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const ConvBlockArgs<T> &a;
    const DepthwiseArgs<T> &conv;
    const Bands<T> &bands;
    const T *const taps;
    const bool gated;
    const int64_t pad, wide, inner, hidden_row;
    LinearBlock<T, F> first, border, last;
    Buffer<T> staged, hidden;  // staged: zeros stay beside the image
    Buffer<F> joined;
    int64_t image = 0, y0 = 0, x0 = 0, height = 0, width = 0;
    struct Tokens {
        std::vector<int64_t> token, place;  // in the image, in the ring
        void add(int64_t t, int64_t p) { token.push_back(t), place.push_back(p); }
        void clear() { token.clear(), place.clear(); }
    } own, around;
    std::vector<const T *> read, joins;  // rows in the ring: what the convolution reads, what it is joined to

    ConvBlockBand(const ConvBlockArgs<T> &args, const Bands<T> &cut, const LinearArgs<T> &border_args,
                  const Factors<F> *first_columns, const Factors<F> *border_columns, const Factors<F> *last_columns,
                  const T *conv_taps)
        : a(args), conv(args.conv), bands(cut), taps(conv_taps), gated(conv.mode == mir::GATED), pad(cut.pad),
          wide(cut.wide), inner(conv.channels), hidden_row(cut.hidden_row), first(a.first, first_columns),
          border(border_args, border_columns), last(a.last, last_columns), staged(cut.ring() * cut.full_width() * wide),
          hidden((cut.ring() * cut.full_width() + LINEAR_BLOCK) * hidden_row),
          joined(a.last.weight ? (cut.step * cut.width + LINEAR_BLOCK) * wide : 0) {}

    int64_t token(int64_t y, int64_t x) const { return (image * conv.height + y0 + y) * conv.width + x0 + x; }
    int64_t place(int64_t y, int64_t x) const { return (y + pad) % bands.ring() * bands.full_width() + x + pad; }

    void run(int64_t task) {
        image = task / (bands.rows * bands.columns);
        y0 = task / bands.columns % bands.rows * bands.height, x0 = task % bands.columns * bands.width;
        height = std::min(bands.height, conv.height - y0), width = std::min(bands.width, conv.width - x0);
        int64_t mapped = -pad;
        for (int64_t y = 0; y < height; y += bands.step) {
            const int64_t count = std::min(bands.step, height - y), end = y + count + pad;
            map_in(mapped, end);
            mapped = end;
            if (a.last.weight) {
                convolve(y, count, joined.data(), width, wide);
                map_back(y, count);
            } else {
                convolve(y, count, conv.y + token(y, 0) * inner, conv.width, inner);
            }
        }
    }

    // The hidden tokens of some rows, and of these what the convolution reads.
    void map_in(int64_t from, int64_t to) {
        own.clear(), around.clear();
        const int64_t left = std::max(-pad, -x0), right = std::min(width + pad, conv.width - x0);
        for (int64_t y = from; y < to; y++) {
            if (y0 + y < 0 || y0 + y >= conv.height) {
                T *row = &staged[place(y, -pad) * wide];
                std::fill(row, row + bands.full_width() * wide, T(0));
                continue;
            }
            const bool inside = y >= 0 && y < height;
            for (int64_t x = left; x < right; x++) {
                Tokens &tokens = !gated || (inside && x >= 0 && x < width) ? own : around;
                tokens.add(token(y, x), place(y, x));
            }
        }
        if (gated) {
            map_gated(own, first, inner);
            map_gated(around, border, 0);
        } else {
            by_blocks(own.token.size(), [&](int64_t n, int64_t count) {
                map(own, first, n, count, [to = staged.data(), place = &own.place[n], step = wide](int64_t r) {
                    return to + place[r] * step;
                });
            });
        }
    }

    // f(first, count) for blocks of tokens of about the same size.
    template <class Do> static void by_blocks(int64_t size, Do &&f) {
        const int64_t most = Bands<T>::even(size, LINEAR_BLOCK, TILE_ROWS);
        for (int64_t n = 0; n < size; n += most) f(n, std::min(most, size - n));
    }

    // The first map of some tokens, token r to to(r).
    template <class To> void map(const Tokens &tokens, LinearBlock<T, F> &by, int64_t n, int64_t count, To &&to) {
        by.gather(count, [x = a.first.x, token = &tokens.token[n], stride = a.first.x_stride](int64_t r) {
            return x + token[r] * stride;
        });
        if (a.first.gelu)
            by.template map<true>(count,
                                  [=](int64_t r, int64_t o, int, V v) { store(to(r) + o, activation<T, F>(v)); });
        else
            by.template map<false>(count, [=](int64_t r, int64_t o, int, V v) { store(to(r) + o, v); });
    }

    // The convolution reads the channels from `from` on. What gates is not needed around the band, nor kept.
    void map_gated(const Tokens &tokens, LinearBlock<T, F> &by, int64_t from) {
        by_blocks(tokens.token.size(), [&](int64_t n, int64_t count) {
            const int64_t *where = &tokens.place[n];
            T *room = from ? hidden.data() : &hidden[bands.ring() * bands.full_width() * hidden_row];
            auto to = [=, step = hidden_row](int64_t r) { return room + (from ? where[r] : r) * step; };
            map(tokens, by, n, count, to);
            auto v = [&](int64_t r) { return to(r) + from; };
            auto read = [&](int64_t r) { return &staged[where[r] * wide]; };
            if (conv.gamma)
                normalise(count, inner, conv.gamma, conv.beta, T(conv.eps), v, read, (Moments<T> *)nullptr);
            else
                for (int64_t r = 0; r < count; r++)
                    for (int64_t c = 0; c < inner; c += W) store(read(r) + c, load(v(r) + c, lanes_at<T>(c, inner)));
        });
    }

    // `count` rows of the convolution; a row goes to every `to_row` tokens, a token to every `to_step` numbers.
    template <class To> void convolve(int64_t y, int64_t count, To *to, int64_t to_row, int64_t to_step) {
        // By value: a store may change any member.
        const T *bias = conv.bias;
        const int64_t u_step = gated ? hidden_row : wide;
        const int32_t mode = conv.mode;
        read.clear(), joins.clear();
        for (int64_t i = -pad; i < count + pad + ROWS - 1; i++) read.push_back(&staged[place(y + i, -pad) * wide]);
        for (int64_t i = 0; i < count; i++)
            joins.push_back((gated ? hidden.data() : staged.data()) + place(y + i, 0) * u_step);
        for (int64_t c0 = 0; c0 < inner; c0 += CHUNK_BYTES / sizeof(T)) {
            const int64_t channels = std::min<int64_t>(CHUNK_BYTES / sizeof(T), inner - c0);
            auto row = [rows = read.data(), c0](int64_t i) { return rows[i] + c0; };
            sum_taps<T, K>(conv.kernel, count, width, channels, row, wide, taps + c0, wide,
                           [=, u = joins.data()](int64_t i, int64_t x, int64_t c, int lanes, V z) {
                               const int64_t at = c0 + c;
                               z += load(bias + at, lanes);
                               store(to + (i * to_row + x) * to_step + at,
                                     joined_to<T>(mode, load(u[i] + x * u_step + at, lanes), z), lanes);
                           });
        }
    }

    void map_back(int64_t y, int64_t count) {
        own.clear();
        for (int64_t i = 0; i < count; i++)
            for (int64_t x = 0; x < width; x++) own.token.push_back(token(y + i, x));
        const int64_t out = a.last.out;
        const T *x = a.last.residual, *skip = a.last.skip, *scale = a.last.scale;
        T *to = a.last.y;
        by_blocks(own.token.size(), [&](int64_t n, int64_t size) {
            const int64_t *token = &own.token[n];
            last.view(&joined[n * wide], wide);
            last.template map<false>(size, [=](int64_t r, int64_t o, int lanes, V v) {
                const int64_t at = token[r] * out + o;
                v += load(x + at, lanes);
                if (skip) v += load(skip + at, lanes) * load(scale + o, lanes);
                store(to + at, v, lanes);
            });
        });
    }
};

template <class T, class F, int K> void conv_block_forward_kernel(const ConvBlockArgs<T> &a) {
    const Bands<T> bands(a.conv);
    using Columns = Scratch<Factors<F>>;
    const Columns first = panels<T, F>(a.first.weight, a.first.out, a.first.in);
    const Buffer<T> taps = taps_of(a.conv, false);
    const Columns last = a.last.weight ? panels<T, F>(a.last.weight, a.last.out, a.last.in) : Columns();
    LinearArgs<T> border = a.first;  // with a gate, the half that is convolved
    Columns around;
    if (a.conv.mode == mir::GATED) {
        border.out = a.conv.channels;
        border.weight += border.out * border.in, border.bias += border.out;
        around = panels<T, F>(border.weight, border.out, border.in);
    }
    mir::parallel(a.conv.batch * bands.rows * bands.columns, a.conv.threads, [&](int64_t task) {
        ConvBlockBand<T, F, K>(a, bands, border, first.data(), around.data(), last.data(), taps.data()).run(task);
    });
}

template <class T, class F = T> void conv_block_forward(const ConvBlockArgs<T> &a) {
    by_kernel(a.conv.kernel, [&](auto k) { conv_block_forward_kernel<T, F, decltype(k)::value>(a); });
}

}  // namespace MIR_ISA
