// Counts the bytes that a source compiled for the CPU reads from one range of memory: the logits.
//
// The compiler's thread sanitizer calls a function before every access to memory; here these functions count instead of
// looking for races, and the sanitizer's own library is not linked.  What a register or a shared variable keeps is no
// access to the range.  Compile with -fsanitize=thread, link without; statics must not be guarded by atomics.
#pragma once
#include <cstddef>

#define NOT_COUNTED __attribute__((no_sanitize("thread"), used))

namespace counting {
inline const char* first = nullptr;
inline size_t length = 0;
inline unsigned long long bytes = 0;

NOT_COUNTED inline void see(const void* at, size_t n) {
    if (static_cast<size_t>(static_cast<const char*>(at) - first) < length) bytes += n;
}
}  // namespace counting

extern "C" {
NOT_COUNTED void __tsan_init() {}
NOT_COUNTED void __tsan_func_entry(void*) {}
NOT_COUNTED void __tsan_func_exit() {}
NOT_COUNTED void __tsan_vptr_update(void*, void*) {}
NOT_COUNTED void __tsan_read1(void* at) { counting::see(at, 1); }
NOT_COUNTED void __tsan_read2(void* at) { counting::see(at, 2); }
NOT_COUNTED void __tsan_read4(void* at) { counting::see(at, 4); }
NOT_COUNTED void __tsan_read8(void* at) { counting::see(at, 8); }
NOT_COUNTED void __tsan_read16(void* at) { counting::see(at, 16); }
NOT_COUNTED void __tsan_read_range(void* at, size_t n) { counting::see(at, n); }
NOT_COUNTED void __tsan_write1(void*) {}
NOT_COUNTED void __tsan_write2(void*) {}
NOT_COUNTED void __tsan_write4(void*) {}
NOT_COUNTED void __tsan_write8(void*) {}
NOT_COUNTED void __tsan_write16(void*) {}
NOT_COUNTED void __tsan_write_range(void*, size_t) {}

NOT_COUNTED void count_reads_of(const void* at, size_t n) {
    counting::first = static_cast<const char*>(at);
    counting::length = n;
    counting::bytes = 0;
}
NOT_COUNTED unsigned long long reads_counted() { return counting::bytes; }
}
