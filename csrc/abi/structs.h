// What crosses the C ABI: plain structs of pointers and sizes, mirrored field by field in
// mambairv2/ops/library/structs.py. Strides count elements from one token to the next.
#pragma once
#include <cstdint>

namespace mir {

constexpr int ABI = 10;  // raised where a kernel changes what it means by its arguments

enum Status : int32_t { OK = 0, OUT_OF_MEMORY = 1, FAILED = 2 };  // what each kernel returns
constexpr int MESSAGE = 256;                                      // characters that say why it failed

constexpr int SCAN_CHUNK = 64;  // tokens between the states that the forward pass keeps for the backward
constexpr int MAX_RANK = 16;    // of what delta is made from
constexpr int MAX_STATES = 64;  // N above this goes to the torch backend
constexpr int MAX_KERNEL = 15;  // side of a depthwise convolution
constexpr int WINDOW = 16;      // side of an attention window; rows of a window are whole vectors
constexpr int TOKENS = WINDOW * WINDOW;
constexpr int TABLE = (2 * WINDOW - 1) * (2 * WINDOW - 1);

// u, delta, y: (batch, length, channels). A: (channels, n). B, C, prompt: (batch, length, n).
// order: (batch, length): step i visits token order[i]; null for the order of the tokens.
// With delta_weight (channels, rank), delta is (batch, length, rank) and is multiplied by it; for inference.
template <class T> struct ScanArgs {
    const T *u, *delta, *A, *B, *C, *D, *bias, *prompt;
    const int64_t *order;
    T *y, *last, *states;  // last: (batch, channels, n). states: (batch, chunks, n, channels), or null
    int64_t batch, length, channels, n, u_stride, delta_stride, B_stride, C_stride, prompt_stride;
    int32_t softplus, threads;
    const T *delta_weight;
    int64_t rank;
};

// Parts are summed by the caller: dB, dC (blocks, batch, length, n), blocks = ceil(channels / width);
// dA (batch, channels, n); dD, dbias (batch, channels). dy and du, ddelta are contiguous.
template <class T> struct ScanGradArgs {
    ScanArgs<T> forward;
    const T *dy;
    T *du, *ddelta, *dB, *dC, *dA, *dD, *dbias;
};

// y = act(W norm(x) + bias) + residual + scale · skip, a token a row; null leaves a part out. x: (rows, in). weight:
// (out, in). gamma, beta: (in), of the layer norm. y, residual, skip: (rows, out), contiguous. bias, scale: (out).
template <class T> struct LinearArgs {
    const T *x, *weight, *bias, *gamma, *beta, *residual, *skip, *scale;
    T *y;
    int64_t rows, in, out, x_stride;
    double eps;
    int32_t gelu, threads;
};

// dx, dy, dskip: contiguous. dweight: (out, in). dbias, dscale: (out). dgamma, dbeta: (in). around: (rows, in), what x
// gets from elsewhere, added to dx, or null. parts: of the tokens, summed apart.
template <class T> struct LinearGradArgs {
    LinearArgs<T> forward;
    const T *dy, *around;
    T *dx, *dskip, *dweight, *dbias, *dgamma, *dbeta, *dscale;
    int64_t parts;
};

// Depthwise convolution of images (batch, height, width, channels), zeros around them, with what it is joined to.
enum DepthwiseMode : int32_t {
    GATED = 0,    // x (.., 2 channels) = (u, v): y = u · conv(norm(v))
    SIGMOID = 1,  // y = x · sigmoid(conv(x))
    GELU = 2,     // y = x + gelu(conv(x))
};

// weight: (channels, kernel²). gamma, beta: (channels), of the layer norm of GATED. conv: what the convolution gave,
// kept for the backward pass. All contiguous.
template <class T> struct DepthwiseArgs {
    const T *x, *weight, *bias, *gamma, *beta;
    T *y, *conv;
    int64_t batch, height, width, channels, kernel;
    double eps;
    int32_t mode, threads;
};

// dx as x. dweight: (channels, kernel²). dbias, dgamma, dbeta: (channels). parts: of the tiles, summed apart.
template <class T> struct DepthwiseGradArgs {
    DepthwiseArgs<T> forward;
    const T *dy;
    T *dx, *dweight, *dbias, *dgamma, *dbeta;
    int64_t parts;
};

// last(conv(first(x))), for inference; without last.weight, what the convolution gives goes to conv.y. The x of `conv`
// and of `last` are not looked at; the residual of `last` and the bias of `first` must be there.
template <class T> struct ConvBlockArgs {
    LinearArgs<T> first;
    DepthwiseArgs<T> conv;
    LinearArgs<T> last;
};

// qkv: (batch, height, width, 3 heads dim). table: (TABLE, heads). out: (batch, height, width, heads dim).
// lse: (batch, windows, heads, TOKENS), log2 of the sum of each softmax, or null.
template <class T> struct AttentionArgs {
    const T *qkv, *table;
    T *out, *lse;
    int64_t batch, height, width, heads, dim, shift;
    int32_t threads;
};

// dtable: (TABLE, heads). parts: of the windows, summed apart.
template <class T> struct AttentionGradArgs {
    AttentionArgs<T> forward;
    const T *dout;
    T *dqkv, *dtable;
    int64_t parts;
};

// out = x + proj(attention(qkv(norm(x)))). x, out: (batch, height, width, heads dim); the qkv of `attention` is not
// looked at. mixed: what `proj` maps, or null. qkv_weight: (3 heads dim, heads dim); proj_weight: (heads dim, heads
// dim); bias may be null.
template <class T> struct AttentionBlockArgs {
    AttentionArgs<T> attention;
    const T *x, *gamma, *beta, *qkv_weight, *qkv_bias, *proj_weight, *proj_bias;
    T *mixed;
    double eps;
};

// logits: (batch, length, prompts). label, order: (batch, length). Each function reads or writes two of the three.
template <class T> struct RoutingArgs {
    const T *logits;
    int64_t *label, *order;
    int64_t batch, length, prompts;
    int32_t threads;
};

// The likeliest prompt of each token of second(act(first(x))), for inference: label (rows), prompt (rows, width), its
// row of pool (prompts, width). The x and y of `second` and the y of `first` are not looked at.
template <class T> struct ChoiceArgs {
    LinearArgs<T> first, second;
    const T *pool;
    int64_t *label;
    T *prompt;
    int64_t width;
};

// noise: (batch, count), standard exponential; seeds: (batch).
template <class T> struct NoiseArgs {
    const int64_t *seeds;
    T *noise;
    int64_t batch, count;
    int32_t threads;
};

// logits, noise: (tokens, prompts). pool: (prompts, width). label: (tokens). prompt: (tokens, width). soft, the
// softmax: as logits, or null.
template <class T> struct DrawArgs {
    const T *logits, *noise, *pool;
    int64_t *label;
    T *prompt, *soft;
    int64_t tokens, prompts, width;
    double temperature;
    int32_t threads;
};

// dprompt: (tokens, width). dlogits: (tokens, prompts). dpool: (parts, prompts, width), summed by the caller.
template <class T> struct DrawGradArgs {
    DrawArgs<T> forward;
    const T *dprompt;
    T *dlogits, *dpool;
    int64_t parts;
};

}  // namespace mir
