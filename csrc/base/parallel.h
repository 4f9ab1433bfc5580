// Tasks over threads: torch's own OpenMP pool where the process has one (two pools would fight), else a pool of ours.
#pragma once
#include <cstdint>

namespace mir {

// Calls run(context, i) for i in [0, tasks), each once, on at most `threads` threads, in order of i as threads get
// free. Where a task throws, no further one begins, those that run go on to their end, and the first exception is
// thrown here.
void parallel_for(int64_t tasks, int threads, void (*run)(void *, int64_t), void *context);

template <class F> void parallel(int64_t tasks, int threads, F &&body) {
    parallel_for(tasks, threads, [](void *f, int64_t i) { (*static_cast<F *>(f))(i); }, &body);
}

}  // namespace mir
