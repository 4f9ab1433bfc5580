// A linear map, a depthwise convolution and a linear map back, for inference: a tile of the image with its border goes through
// all three in cache, and what lies between them is never written.
#pragma once
#include <vector>

#include "args.h"
#include "depthwise.h"
#include "linear.h"
#include "parallel.h"
#include "simd.h"

namespace MIR_ISA {

using mir::ConvBlockArgs;

constexpr int64_t BLOCK_HEIGHT = 32;  // of a tile: its border is mapped twice

template <class T, int K> struct ConvBlockTile {
    static constexpr int W = Simd<T>::W;
    using V = Vec<T>;
    const ConvBlockArgs<T> &a;
    const DepthwiseArgs<T> &conv;
    const T *const taps;
    const bool gated;
    const int64_t inner, row;  // channels of the convolution; from one hidden token to the next
    DepthwiseTile<T, K> tile;
    LinearBlock<T> first, border, last;
    Scratch<T> hidden, joined;
    struct Tokens {
        std::vector<int64_t> token, place;  // in the image, in the tile
    } own, around;

    ConvBlockTile(const ConvBlockArgs<T> &args, const LinearArgs<T> &border_args, const T *first_columns, const T *border_columns,
                  const T *last_columns, const T *conv_taps)
        : a(args), conv(args.conv), taps(conv_taps), gated(conv.mode == mir::GATED), inner(conv.channels), row((gated ? 2 : 1) * whole_vectors<T>(inner)),
          tile(conv, BLOCK_HEIGHT, whole_vectors<T>(inner)), first(a.first, first_columns), border(border_args, border_columns),
          last(a.last, last_columns), hidden((BLOCK_HEIGHT * TILE_WIDTH + LINEAR_BLOCK) * row),
          joined((BLOCK_HEIGHT * TILE_WIDTH + LINEAR_BLOCK) * tile.wide) {}

    void run(int64_t task) {
        tile.go_to(task);
        tile.everywhere(
            [&](int64_t y, int64_t x, int64_t i) {
                Tokens &to = y >= 0 && y < tile.height && x >= 0 && x < tile.width ? own : around;
                to.token.push_back(tile.token(y, x)), to.place.push_back(i);
            },
            [&](int64_t i) { std::fill(&tile.staged[i * tile.wide], &tile.staged[(i + 1) * tile.wide], T(0)); });
        map_in(own, first, gated ? inner : 0);
        map_in(around, border, 0);
        convolve();
        if (a.last.weight) map_back();
    }

    // Hidden tokens, and from channel `from` of them what the convolution reads. What gates is not needed around the tile.
    void map_in(const Tokens &tokens, LinearBlock<T> &map, int64_t from) {
        const bool gelu_behind = a.first.gelu;
        const int64_t step = row, stride = a.first.x_stride, size = tokens.token.size();
        for (int64_t n = 0; n < size; n += LINEAR_BLOCK) {
            const int64_t count = std::min<int64_t>(LINEAR_BLOCK, size - n);
            map.gather(count, [&](int64_t r) { return a.first.x + tokens.token[n + r] * stride; });
            T *to = &hidden[from ? n * row : tail()];
            map.template map<true>(count, [=](int64_t r, int64_t o, int lanes, V v) { store(to + r * step + o, gelu_behind ? gelu<T>(v) : v, lanes); });
            auto v = [&](int64_t r) { return to + r * row + from; };
            auto read = [&](int64_t r) { return &tile.staged[tokens.place[n + r] * tile.wide]; };
            if (conv.gamma)
                normalise(count, inner, conv.gamma, conv.beta, T(conv.eps), v, read, (Moments<T> *)nullptr);
            else
                for (int64_t r = 0; r < count; r++)
                    for (int64_t c = 0; c < inner; c += W) store(read(r) + c, load(v(r) + c, lanes_at<T>(c, inner)));
        }
    }
    int64_t tail() const { return BLOCK_HEIGHT * TILE_WIDTH * row; }  // of `hidden`: a block that nobody reads later

    void convolve() {
        // By value: a store may change any member.
        const bool last = a.last.weight;
        const T *u = gated ? hidden.data() : &tile.staged[tile.place(0, 0) * tile.wide], *bias = conv.bias;
        T *to = last ? joined.data() : conv.y + tile.token(0, 0) * inner;
        const int64_t u_row = gated ? tile.width : tile.full_width, u_step = gated ? row : tile.wide;
        const int64_t to_row = last ? tile.width : conv.width, to_step = last ? tile.wide : inner;
        const int32_t mode = conv.mode;
        tile.by_chunks([&] {
            tile.convolve(tile.staged, taps, [=](int64_t y, int64_t x, int64_t c, int lanes, V z) {
                z += load(bias + c, lanes);
                store(to + (y * to_row + x) * to_step + c, joined_to<T>(mode, load(u + (y * u_row + x) * u_step + c, lanes), z), lanes);
            });
        });
    }

    void map_back() {
        const int64_t out = a.last.out;
        const T *x = a.last.residual, *skip = a.last.skip, *scale = a.last.scale;
        T *y = a.last.y;
        for (int64_t n = 0; n < (int64_t)own.token.size(); n += LINEAR_BLOCK) {
            const int64_t *place = &own.token[n];
            last.view(&joined[n * tile.wide], tile.wide);
            last.template map<false>(std::min<int64_t>(LINEAR_BLOCK, own.token.size() - n), [=](int64_t r, int64_t o, int lanes, V v) {
                const int64_t to = place[r] * out + o;
                v += load(x + to, lanes);
                if (skip) v += load(skip + to, lanes) * load(scale + o, lanes);
                store(y + to, v, lanes);
            });
        }
    }
};

template <class T, int K> void conv_block_forward_kernel(const ConvBlockArgs<T> &a) {
    const Scratch<T> first = panels(a.first.weight, a.first.out, a.first.in);
    const Buffer<T> taps = taps_of(a.conv, false);
    const Scratch<T> last = a.last.weight ? panels(a.last.weight, a.last.out, a.last.in) : Scratch<T>();
    LinearArgs<T> border = a.first;  // with a gate, the half that is convolved
    if (a.conv.mode == mir::GATED) {
        border.out = a.conv.channels;
        border.weight += border.out * border.in, border.bias += border.out;
    }
    const Scratch<T> around = panels(border.weight, border.out, border.in);
    mir::parallel(DepthwiseTile<T, K>(a.conv, BLOCK_HEIGHT).tiles(), a.conv.threads, [&](int64_t task) {
        ConvBlockTile<T, K>(a, border, first.data(), around.data(), last.data(), taps.data()).run(task);
    });
}

template <class T> void conv_block_forward(const ConvBlockArgs<T> &a) {
    by_kernel(a.conv.kernel, [&](auto k) { conv_block_forward_kernel<T, decltype(k)::value>(a); });
}

}  // namespace MIR_ISA
