// Tasks over threads: torch's own OpenMP pool where the process has one (two pools would fight), else std::thread.
#pragma once
#include <cstdint>

namespace mir {

// Calls run(context, i) for i in [0, tasks), each once, on at most `threads` threads. Tasks must not throw.
void parallel_for(int64_t tasks, int threads, void (*run)(void *, int64_t), void *context);

template <class F> void parallel(int64_t tasks, int threads, F &&body) {
    parallel_for(
        tasks, threads, [](void *f, int64_t i) { (*static_cast<F *>(f))(i); }, &body);
}

}  // namespace mir
