// The product of a block of tokens and a weight, held in registers, which every linear map is made of.
#pragma once
#include <type_traits>

#include "base/bfloat16.h"
#include "base/lanes.h"
#include "base/memory.h"
#include "base/vector.h"

namespace MIR_ISA {

#if MIR_REGISTERS == 32
constexpr int TILE_ROWS = 8, TILE_COLUMNS = 3;  // 24 sums
#else
constexpr int TILE_ROWS = 4, TILE_COLUMNS = 3;  // 12 sums
#endif
constexpr int LINEAR_BLOCK = 64;  // tokens

// sum[r][c] += Σ_k s[r, k] · v[k, c] for scalars s and vectors v, or pairs of them: the one loop of every product
// below. A pointer to every third row, which the compiler must not trace to one another: offsets of eight rows would
// not stay in registers.
template <class T, int C, class S>
inline void product(Vec<T> (&sum)[TILE_ROWS][C], const S *s, int64_t s_row, int64_t s_step, const S *v, int64_t v_step,
                    int64_t count) {
    constexpr int POINTERS = (TILE_ROWS + 2) / 3;
    const S *rows[POINTERS];
#pragma GCC unroll 3
    for (int p = 0; p < POINTERS; p++) {
        rows[p] = s + 3 * p * s_row;
        asm("" : "+r"(rows[p]));
    }
    for (int64_t k = 0; k < count; k++, v += v_step) {
        Vec<S> x[C];
        for (int c = 0; c < C; c++) x[c] = load(v + c * Simd<T>::W);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
            for (int c = 0; c < C; c++) multiply_add(sum[r][c], x[c], rows[r / 3][r % 3 * s_row]);
#pragma GCC unroll 3
        for (int p = 0; p < POINTERS; p++) rows[p] += s_step;
    }
}

// Calls f(columns, first vector) over `vectors` of them, as many at a time as the registers take.
template <class F> inline void by_columns(int vectors, F &&f) {
    int v = 0;
    for (; v + TILE_COLUMNS <= vectors && vectors - v != 4; v += TILE_COLUMNS)
        f(std::integral_constant<int, TILE_COLUMNS>{}, v);
    for (; v + 2 <= vectors; v += 2) f(std::integral_constant<int, 2>{}, v);
    if (vectors - v == 1) f(std::integral_constant<int, 1>{}, v);
}

// A weight (out, in) as the products read it: for each of by_columns' groups of C vectors of outputs, (in, C · W)
// without gaps, zeros behind the last output. For pairs, each is of two inputs, a zero behind the last.
template <class T, class F = T> Scratch<Factors<F>> panels(const T *weight, int64_t out, int64_t in) {
    constexpr int W = Simd<T>::W, COUNT = Step<F>::COUNT;
    Scratch<Factors<F>> packed(steps_of<F>(in) * whole_vectors<T>(out));
    by_columns((int)(whole_vectors<T>(out) / W), [&](auto width, int first) {
        constexpr int C = decltype(width)::value;
        Factors<F> *to = packed.data() + first * W * steps_of<F>(in);
        for (int c = 0; c < C; c++)
            for (int64_t i = 0; i < in; i += W) {
                const int lanes = lanes_at<T>(i, in);
                Vec<T> v[W];
                for (int l = 0; l < W; l++) {
                    const int64_t o = (first + c) * W + l;
                    v[l] = o < out ? load(weight + o * in + i, lanes) : Vec<T>{};
                }
                transpose<T>(v);
                for (int l = 0; l < lanes; l += COUNT) {
                    Factors<F> *place = to + ((i + l) / COUNT * C + c) * W;
                    if constexpr (COUNT == 2)
                        store(place, paired(v[l], v[l + 1]));
                    else
                        store(place, v[l]);
                }
            }
    });
    return packed;
}

}  // namespace MIR_ISA
