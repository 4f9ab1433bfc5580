// Working memory that begins on a cache line: a vector that lies across two lines costs two accesses.
#pragma once
#include <new>
#include <vector>

namespace MIR_ISA {

template <class T> struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t LINE{64};
    Aligned() = default;
    template <class U> Aligned(const Aligned<U> &) {}
    T *allocate(std::size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), LINE)); }
    void deallocate(T *p, std::size_t) { ::operator delete(p, LINE); }
    template <class U> bool operator==(const Aligned<U> &) const { return true; }
    template <class U> bool operator!=(const Aligned<U> &) const { return false; }
};
template <class T> using Buffer = std::vector<T, Aligned<T>>;

// The same, not filled with zeros.
template <class T> struct Unfilled : Aligned<T> {
    Unfilled() = default;
    template <class U> Unfilled(const Unfilled<U> &) {}
    template <class U> struct rebind {
        using other = Unfilled<U>;
    };
    template <class U> void construct(U *p) { ::new (static_cast<void *>(p)) U; }
};
template <class T> using Scratch = std::vector<T, Unfilled<T>>;

}  // namespace MIR_ISA
