#include "parallel.h"

#include <atomic>
#include <thread>
#include <vector>

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
};

// Every thread takes the next task until none is left, so the result does not depend on how many threads came.
void work(void *data) {
    Job &job = *static_cast<Job *>(data);
    for (int64_t i; (i = job.next.fetch_add(1)) < job.tasks;) job.run(job.context, i);
}

using GompParallel = void (*)(void (*)(void *), void *, unsigned, unsigned);

GompParallel find_pool() {
#if defined(__unix__) || defined(__APPLE__)
    return reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
    return nullptr;
#endif
}

}  // namespace

void parallel_for(int64_t tasks, int threads, void (*run)(void *, int64_t), void *context) {
    static const GompParallel pool = find_pool();
    if (threads > tasks) threads = static_cast<int>(tasks);
    Job job;
    job.tasks = tasks, job.run = run, job.context = context;
    if (threads <= 1) {
        work(&job);
    } else if (pool) {
        pool(work, &job, static_cast<unsigned>(threads), 0);
    } else {
        std::vector<std::thread> others;
        for (int i = 1; i < threads; i++) others.emplace_back(work, &job);
        work(&job);
        for (auto &thread : others) thread.join();
    }
}

}  // namespace mir
