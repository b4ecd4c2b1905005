// Softmax + top-k, one block per row, one pass over the logits.  Twin and oracle: weightless/ops/softmax_topk.py.
//
//   p_i = exp(z_i) / sum_j exp(z_j);  the k largest with their indices, best first, not renormalised over k
//
// Traffic.  Each logit is loaded once, 4 bytes, in 16-byte pieces by neighbouring threads (coalesced); 12 k bytes are written.
// Nothing of size V is stored anywhere.  Softmax and selection apart read the row three to four times and write it once.
// At V = 50,257 a row is 201 kB: memory-bound (about 2 FLOPs and one exponential per 4 bytes).
//
// Steps
//   1  each thread walks the row with a stride and keeps, in registers, its largest value m, its sum l of exp(z - m) (online:
//      l shrinks by exp(m_old - m) when m grows), and a sorted list of its own K best.  A value is compared with the last of
//      the list first, so after the beginning nearly every value costs one comparison.
//   2  (m, l) pairs are merged in a warp by shuffles, then over warps through shared memory: log2(32) + log2(warps) steps.
//   3  lists are merged k times over by a tournament of their heads: in each warp by shuffles, then by the first warp over the
//      warps' lists in shared memory.  Equal values: the lower index wins, so ties are those of the twin.
//
// Pinned as in the twin: fewer than k logits above -inf leave index -1 and probability 0; a row of -inf gives those only.
// NaN or +inf in a row makes its probabilities NaN (the Python wrappers refuse such rows).
#ifdef CPU_SHIM
#include "cpu_shim.h"
#else
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#define SHARED_AT(name)
#endif

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr unsigned ALL = 0xFFFFFFFFu;
#define MINUS_INFINITY (-INFINITY)

__device__ __forceinline__ bool beats(float a, int ia, float b, int ib) {
    return a > b || (a == b && static_cast<unsigned>(ia) < static_cast<unsigned>(ib));  // -1 is the largest unsigned
}

// l relative to m; an empty part has m = -inf, l = 0.
__device__ __forceinline__ void merge_sum(float& m, float& l, float m2, float l2) {
    float top = fmaxf(m, m2);
    float shift = top == MINUS_INFINITY ? 0.0f : top;
    l = l * expf(m - shift) + l2 * expf(m2 - shift);
    m = top;
}

template <int K>
struct Best {
    float value[K];
    int index[K];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int j = 0; j < K; ++j) {
            value[j] = MINUS_INFINITY;
            index[j] = -1;
        }
    }

    // Indices come in rising order, so among equals the one that is there stays in front.
    __device__ __forceinline__ void offer(float v, int i) {
        if (!(v > value[K - 1])) return;
        value[K - 1] = v;
        index[K - 1] = i;
#pragma unroll
        for (int j = K - 1; j > 0; --j) {
            if (value[j] > value[j - 1]) {
                float fv = value[j];
                int fi = index[j];
                value[j] = value[j - 1];
                index[j] = index[j - 1];
                value[j - 1] = fv;
                index[j - 1] = fi;
            }
        }
    }

    __device__ __forceinline__ void pop() {
#pragma unroll
        for (int j = 0; j + 1 < K; ++j) {
            value[j] = value[j + 1];
            index[j] = index[j + 1];
        }
        value[K - 1] = MINUS_INFINITY;
        index[K - 1] = -1;
    }
};

// The best head among the lanes of a warp, in every lane, and the lane it came from.
__device__ __forceinline__ void best_of_warp(float& v, int& i, int& lane) {
#pragma unroll
    for (int bits = 16; bits > 0; bits >>= 1) {
        float v2 = __shfl_xor_sync(ALL, v, bits);
        int i2 = __shfl_xor_sync(ALL, i, bits);
        int lane2 = __shfl_xor_sync(ALL, lane, bits);
        if (beats(v2, i2, v, i) || (v2 == v && i2 == i && lane2 < lane)) {
            v = v2;
            i = i2;
            lane = lane2;
        }
    }
}

template <int K>
__device__ __forceinline__ void take(float v, int i, float& m, float& l, Best<K>& best) {
    if (v > m) {
        l *= expf(m - v);
        m = v;
    }
    l += m == MINUS_INFINITY ? (v == v ? 0.0f : v) : expf(v - m);
    best.offer(v, i);
}

template <int K>
__global__ void __launch_bounds__(THREADS)
    softmax_topk_kernel(const float* __restrict__ logits, int V, int k, long long* __restrict__ index, float* __restrict__ probability) {
    __shared__ float list_value[WARPS][K];
    __shared__ int list_index[WARPS][K];
    __shared__ float warp_m[WARPS], warp_l[WARPS];
    if (threadIdx.x == 0 && blockIdx.x == 0) {
        SHARED_AT(list_value);
        SHARED_AT(list_index);
        SHARED_AT(warp_m);
        SHARED_AT(warp_l);
    }
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const float* row = logits + static_cast<long long>(blockIdx.x) * V;
    float m = MINUS_INFINITY, l = 0.0f;
    Best<K> best;
    best.clear();

    // 1: 16-byte loads from the first aligned address on; what stands before and after goes one by one
    int head = static_cast<int>((16 - reinterpret_cast<unsigned long long>(row) % 16) % 16 / 4);
    head = min(head, V);
    const int pieces = (V - head) / 4;
    if (thread < head) take<K>(row[thread], thread, m, l, best);
    const float4* wide = reinterpret_cast<const float4*>(row + head);
    for (int p = thread; p < pieces; p += THREADS) {
        float4 z = wide[p];
        int i = head + 4 * p;
        take<K>(z.x, i, m, l, best);
        take<K>(z.y, i + 1, m, l, best);
        take<K>(z.z, i + 2, m, l, best);
        take<K>(z.w, i + 3, m, l, best);
    }
    for (int i = head + 4 * pieces + thread; i < V; i += THREADS) take<K>(row[i], i, m, l, best);

    // 2
#pragma unroll
    for (int bits = 16; bits > 0; bits >>= 1) {
        float m2 = __shfl_xor_sync(ALL, m, bits), l2 = __shfl_xor_sync(ALL, l, bits);
        merge_sum(m, l, m2, l2);
    }
    if (lane == 0) {
        warp_m[warp] = m;
        warp_l[warp] = l;
    }

    // 3
    for (int j = 0; j < k; ++j) {
        float v = best.value[0];
        int i = best.index[0], from = lane;
        best_of_warp(v, i, from);
        if (lane == from) best.pop();
        if (lane == 0) {
            list_value[warp][j] = v;
            list_index[warp][j] = i;
        }
    }
    __syncthreads();
    if (warp > 0) return;
    m = lane < WARPS ? warp_m[lane] : MINUS_INFINITY;
    l = lane < WARPS ? warp_l[lane] : 0.0f;
#pragma unroll
    for (int bits = 16; bits > 0; bits >>= 1) {
        float m2 = __shfl_xor_sync(ALL, m, bits), l2 = __shfl_xor_sync(ALL, l, bits);
        merge_sum(m, l, m2, l2);
    }
    int at = 0;
    for (int j = 0; j < k; ++j) {
        bool has = lane < WARPS && at < k;
        float v = has ? list_value[lane][at] : MINUS_INFINITY;
        int i = has ? list_index[lane][at] : -1, from = lane;
        best_of_warp(v, i, from);
        if (lane == from) ++at;
        if (lane == 0) {
            long long out = static_cast<long long>(blockIdx.x) * k + j;
            index[out] = i;
            probability[out] = l == l ? (i < 0 ? 0.0f : expf(v - m) / l) : l;
        }
    }
}

// Rows of V contiguous float32 logits on the device; index and probability hold rows x k.  Returns 0, a CUDA error, or -1 for
// sizes that no kernel serves (k from 1 to 64).
extern "C" int softmax_topk_launch(const float* logits, int rows, int V, int k, long long* index, float* probability, cudaStream_t stream) {
    if (rows < 1 || V < 1 || k < 1 || k > 64) return -1;
    dim3 grid(rows), block(THREADS);
    if (k <= 4) LAUNCH(softmax_topk_kernel<4>, grid, block, stream, logits, V, k, index, probability);
    else if (k <= 16) LAUNCH(softmax_topk_kernel<16>, grid, block, stream, logits, V, k, index, probability);
    else if (k <= 32) LAUNCH(softmax_topk_kernel<32>, grid, block, stream, logits, V, k, index, probability);
    else LAUNCH(softmax_topk_kernel<64>, grid, block, stream, logits, V, k, index, probability);
    return static_cast<int>(cudaGetLastError());
}
