// Sums over parts of the tokens.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/memory.h"

namespace MIR_ISA {

// A gradient of weights, summed by parts of the tokens: the same sums on any number of threads.
template <class T> struct Parts {
    T *const total;
    const int64_t parts, size;
    Scratch<T> room;
    Parts(T *to, int64_t count, int64_t n) : total(to), parts(count), size(n), room(count > 1 ? count * n : 0) {}
    T *of(int64_t part) { return parts > 1 ? room.data() + part * size : total; }
    void add_up() {
        if (parts <= 1) return;
        std::copy(room.data(), room.data() + size, total);
        for (int64_t p = 1; p < parts; p++)
            for (int64_t i = 0; i < size; i++) total[i] += room[p * size + i];
    }
};

}  // namespace MIR_ISA
