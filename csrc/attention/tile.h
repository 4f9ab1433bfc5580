// Products of the rows of a window in registers, which all passes of attention are made of.
#pragma once
#include <cstdint>

#include "attention/window.h"
#include "base/bfloat16.h"
#include "base/vector.h"

namespace MIR_ISA {

// Register tiles beside two vectors of queries.
#if MIR_REGISTERS == 32
constexpr int KEYS = 8, DIMS = 12;
#else
constexpr int KEYS = 4, DIMS = 4;
#endif

// acc[j][v] += Σ_d x[d][v] · y[j][d] for J rows of y and two vectors, of values or pairs: the product that all passes
// share.
template <class T, int J, class S = T>
inline void tile(Vec<T> (&acc)[J][2], const S *x, int64_t x_step, const S *y, int64_t y_row, int64_t y_step,
                 int count) {
    constexpr int W = Simd<T>::W;
    for (int d = 0; d < count; d++) {
        const Vec<S> x0 = load(x + d * x_step), x1 = load(x + d * x_step + W);
#pragma GCC unroll 12
        for (int j = 0; j < J; j++) {
            const S s = y[j * y_row + d * y_step];
            multiply_add(acc[j][0], x0, s);
            multiply_add(acc[j][1], x1, s);
        }
    }
}

// out[i][d] for dims d0.. and the two vectors of positions at i: f · Σ_j p[j] · y[j][d], left in (d, TOKENS); ADD: and
// what is there, with f 1.
template <class T, int J, bool ADD, class S>
inline void weighted(T *out, const S *p, const S *y, int64_t row, int count, Vec<T> f0, Vec<T> f1) {
    constexpr int W = Simd<T>::W;
    Vec<T> acc[J][2] = {};
    if (ADD)
#pragma GCC unroll 12
        for (int j = 0; j < J; j++) acc[j][0] = load(out + j * TOKENS), acc[j][1] = load(out + j * TOKENS + W);
    tile<T, J, S>(acc, p, 2 * W, y, 1, row, count);
#pragma GCC unroll 12
    for (int j = 0; j < J; j++) {
        store(out + j * TOKENS, ADD ? acc[j][0] : acc[j][0] * f0);
        store(out + j * TOKENS + W, ADD ? acc[j][1] : acc[j][1] * f1);
    }
}
template <class T, bool ADD, class S = T>
inline void weighted_all(T *out, const S *p, const S *y, int64_t row, int padded, int count, Vec<T> f0, Vec<T> f1) {
    int d = 0;
    for (; d + DIMS <= padded; d += DIMS) weighted<T, DIMS, ADD, S>(out + d * TOKENS, p, y + d, row, count, f0, f1);
    for (; d < padded; d += 4) weighted<T, 4, ADD, S>(out + d * TOKENS, p, y + d, row, count, f0, f1);
}

}  // namespace MIR_ISA
