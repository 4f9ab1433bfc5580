#include "base/parallel.h"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "base/pool.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace mir {
namespace {

struct Job {
    std::atomic<int64_t> next{0};
    int64_t tasks;
    void (*run)(void *, int64_t);
    void *context;
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // the first; read when all threads have come back
};

// Every thread takes the next task until none is left, so the result does not depend on how many threads came. A task
// that was taken is run, even after another has failed: a later one may wait for it. Exceptions stay here: above are
// frames of C.
void work(void *data) {
    Job &job = *static_cast<Job *>(data);
    for (int64_t i; (i = job.next.fetch_add(1)) < job.tasks;) {
        try {
            job.run(job.context, i);
        } catch (...) {
            if (!job.failed.exchange(true)) job.error = std::current_exception();
            job.next.store(job.tasks);
        }
    }
}

using GompParallel = void (*)(void (*)(void *), void *, unsigned, unsigned);

// What GCC and Clang call for `#pragma omp parallel`, in whichever OpenMP library the process has. MAMBAIRV2_OWN_POOL,
// not empty, leaves it alone, for tests.
GompParallel find_openmp() {
    const char *own = std::getenv("MAMBAIRV2_OWN_POOL");
    if (own && *own) return nullptr;
#if defined(__unix__) || defined(__APPLE__)
    return reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
    return nullptr;
#endif
}

// Whether so many threads can be made. OpenMP ends the process where it fails to make one, so we try first, when this
// thread asks for more of them than before; the memory of those that ended is kept for the next ones.
bool can_make(int threads) {
    static thread_local int known = 1;
    if (threads <= known) return true;
    std::vector<std::thread> others;
    try {
        others.reserve(threads - 1);
        for (int i = 1; i < threads; i++) others.emplace_back([] {});
        known = threads;
    } catch (const std::bad_alloc &) {
    } catch (const std::system_error &) {
    }
    for (auto &other : others) other.join();
    return known >= threads;
}

}  // namespace

void parallel_for(int64_t tasks, int threads, void (*run)(void *, int64_t), void *context) {
    static const GompParallel openmp = find_openmp();
    if (threads > tasks) threads = static_cast<int>(tasks);
    Job job;
    job.tasks = tasks, job.run = run, job.context = context;
    if (threads <= 1)
        work(&job);
    else if (!openmp)
        own_pool().run(work, &job, threads);
    else if (can_make(threads))
        openmp(work, &job, static_cast<unsigned>(threads), 0);
    else
        work(&job);
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace mir
