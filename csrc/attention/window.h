// A window of the image: where its tokens lie, its bias by relative position, and its rows in and out of cache.
#pragma once
#include <algorithm>
#include <cstdint>

#include "abi/structs.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/vector.h"

namespace MIR_ISA {

using mir::AttentionArgs;
using mir::TABLE;
using mir::TOKENS;
using mir::WINDOW;
constexpr int SPAN = 2 * WINDOW - 1;

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
                const int64_t row = (wy * WINDOW + y + a.shift) % a.height,
                              column = (wx * WINDOW + x + a.shift) % a.width;
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
inline int place(int q, int k) {
    return (q / WINDOW - k / WINDOW + WINDOW - 1) * SPAN + q % WINDOW - k % WINDOW + WINDOW - 1;
}
inline int mirrored_place(int q, int k) {
    return (q / WINDOW - k / WINDOW + WINDOW - 1) * SPAN + k % WINDOW - q % WINDOW + WINDOW - 1;
}

template <class T> struct Tables {
    Buffer<T> plain, mirrored;  // (heads, SPAN, SPAN) in base 2, times unit, above zero; the second with x reversed
    Tables(const AttentionArgs<T> &a, bool both, T unit = 1, T zero = 0)
        : plain(a.heads * TABLE), mirrored(both ? a.heads * TABLE : 0) {
        for (int64_t h = 0; h < a.heads; h++)
            for (int i = 0; i < TABLE; i++) {
                const T value = a.table[i * a.heads + h] * T(1.4426950408889634074) * unit + zero;
                plain[h * TABLE + i] = value;
                if (both) mirrored[h * TABLE + i / SPAN * SPAN + SPAN - 1 - i % SPAN] = value;
            }
    }
};

// Rows of one head copied out of the image: (TOKENS, padded), zeros behind dim.
template <class T>
inline void gather(T *rows, const int64_t *token, const T *from, int64_t stride, int dim, int padded) {
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
template <class T, class F>
inline void scatter_transposed(F *to, const int64_t *token, const T *columns, int64_t stride, int dim, T scale) {
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

inline int padded_to_4(int64_t dim) { return (int)(dim + 3) / 4 * 4; }

}  // namespace MIR_ISA
