// Operators that exist for CUDA only (those of cuDNN, fused attention), as the CPU computes them.
#define TORCH_ASSERT_ONLY_METHOD_OPERATORS

#include <ATen/core/Tensor.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "shadow.h"

namespace emulator {
namespace {

using at::Tensor;
using c10::IValue;

std::optional<Tensor> optional_tensor(const IValue& value) {
  if (!value.isTensor() || !value.toTensor().defined()) return std::nullopt;
  return value.toTensor();
}

// ---- convolution and batch normalisation -----------------------------------------------------

// (input, weight, padding, stride, dilation, groups, ...)
void cudnn_convolution(const Arguments& a, Results& out) {
  auto padding = a[2].toIntVector();
  std::vector<int64_t> none(padding.size(), 0);
  out.emplace_back(at::convolution(a[0].toTensor(), a[1].toTensor(), std::nullopt,
                                   a[3].toIntVector(), padding, a[4].toIntVector(), false, none,
                                   a[5].toInt()));
}

// (input, weight, padding, output_padding, stride, dilation, groups, ...)
void cudnn_convolution_transpose(const Arguments& a, Results& out) {
  out.emplace_back(at::convolution(a[0].toTensor(), a[1].toTensor(), std::nullopt,
                                   a[4].toIntVector(), a[2].toIntVector(), a[5].toIntVector(),
                                   true, a[3].toIntVector(), a[6].toInt()));
}

// (input, weight, kernel_size, bias, stride, padding, dilation)
void depthwise_convolution(const Arguments& a, Results& out) {
  auto padding = a[5].toIntVector();
  std::vector<int64_t> none(padding.size(), 0);
  out.emplace_back(at::convolution(a[0].toTensor(), a[1].toTensor(), optional_tensor(a[3]),
                                   a[4].toIntVector(), padding, a[6].toIntVector(), false, none,
                                   a[0].toTensor().size(1)));
}

// (input, weight, bias, running_mean, running_var, training, momentum, epsilon)
void cudnn_batch_norm(const Arguments& a, Results& out) {
  auto [output, mean, inverse] = at::native_batch_norm(
      a[0].toTensor(), optional_tensor(a[1]), optional_tensor(a[2]), optional_tensor(a[3]),
      optional_tensor(a[4]), a[5].toBool(), a[6].toDouble(), a[7].toDouble());
  out = {output, mean, inverse};
}

// (input, grad_output, weight, running_mean, running_var, saved_mean, saved_var, epsilon, ...)
void cudnn_batch_norm_backward(const Arguments& a, Results& out) {
  auto [input, weight, bias] = at::native_batch_norm_backward(
      a[1].toTensor(), a[0].toTensor(), optional_tensor(a[2]), optional_tensor(a[3]),
      optional_tensor(a[4]), optional_tensor(a[5]), optional_tensor(a[6]), true, a[7].toDouble(),
      {true, true, true});
  out = {input, weight, bias};
}

// ---- fused attention: softmax(q kᵀ · scale + bias) v, in float32 -------------------------------

struct Attention {
  Tensor query, key, value, scores, weights;
  double scale;

  Attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias,
            double dropout, bool causal, const IValue& given_scale)
      : query(q.to(at::kFloat)), key(k.to(at::kFloat)), value(v.to(at::kFloat)) {
    TORCH_CHECK(dropout == 0.0,
                "Dropout within fused attention is not emulated. Choose the math backend: "
                "torch.nn.attention.sdpa_kernel(SDPBackend.MATH).");
    scale = given_scale.isNone() ? 1.0 / std::sqrt(q.size(-1)) : given_scale.toDouble();
    scores = at::matmul(query, key.transpose(-2, -1)).mul(scale);
    if (bias) scores = scores.add(bias->to(at::kFloat));
    if (causal) {
      Tensor past = at::ones(scores.sizes().slice(scores.dim() - 2), at::kBool).tril();
      scores = scores.masked_fill(past.logical_not(), -std::numeric_limits<double>::infinity());
    }
    weights = at::_softmax(scores, -1, false);
  }

  Tensor output() const { return at::matmul(weights, value); }
  Tensor logsumexp() const { return at::logsumexp(scores, {-1}); }

  // Gradients of query, key, value and bias.
  Results backward(const Tensor& gradient) const {
    Tensor of_output = gradient.to(at::kFloat);
    Tensor of_weights = at::matmul(of_output, value.transpose(-2, -1));
    Tensor mean = of_weights.mul(weights).sum({-1}, true);
    Tensor of_scores = weights.mul(of_weights.sub(mean));
    return {at::matmul(of_scores, key).mul(scale),
            at::matmul(of_scores.transpose(-2, -1), query).mul(scale),
            at::matmul(weights.transpose(-2, -1), of_output), of_scores};
  }
};

// (query, key, value, dropout, causal, debug, *, scale)
void flash_attention(const Arguments& a, Results& out) {
  Attention attention(a[0].toTensor(), a[1].toTensor(), a[2].toTensor(), std::nullopt,
                      a[3].toDouble(), a[4].toBool(), a[6]);
  out = {attention.output(), attention.logsumexp()};
}

// (grad_out, query, key, value, out, logsumexp, cum_q, cum_k, max_q, max_k, dropout, causal, ...,
//  scale)
void flash_attention_backward(const Arguments& a, Results& out) {
  Attention attention(a[1].toTensor(), a[2].toTensor(), a[3].toTensor(), std::nullopt,
                      a[10].toDouble(), a[11].toBool(), a[14]);
  out = attention.backward(a[0].toTensor());
  out.pop_back();
}

// (query, key, value, bias, want_logsumexp, dropout, causal, *, scale)
void efficient_attention(const Arguments& a, Results& out) {
  constexpr int64_t ROWS = 32;  // its kernel pads the logarithms to whole blocks
  Attention attention(a[0].toTensor(), a[1].toTensor(), a[2].toTensor(), optional_tensor(a[3]),
                      a[5].toDouble(), a[6].toBool(), a[7]);
  out = {attention.output()};
  if (!a[4].toBool()) return;
  Tensor sums = attention.logsumexp();
  int64_t missing = (ROWS - sums.size(-1) % ROWS) % ROWS;
  out.emplace_back(
      at::constant_pad_nd(sums, {0, missing}, std::numeric_limits<float>::infinity()));
}

// (grad_out, query, key, value, bias, out, logsumexp, seed, offset, dropout, wanted[4], causal, *,
//  scale)
void efficient_attention_backward(const Arguments& a, Results& out) {
  auto bias = optional_tensor(a[4]);
  Attention attention(a[1].toTensor(), a[2].toTensor(), a[3].toTensor(), bias, a[9].toDouble(),
                      a[11].toBool(), a[12]);
  out = attention.backward(a[0].toTensor());
  if (bias)
    out[3] = out[3].toTensor().sum_to_size(bias->sizes());
  else
    out.pop_back();
}

// (query, key, value, bias, want_logsumexp, dropout, causal, debug, *, scale)
void cudnn_attention(const Arguments& a, Results& out) {
  Attention attention(a[0].toTensor(), a[1].toTensor(), a[2].toTensor(), optional_tensor(a[3]),
                      a[5].toDouble(), a[6].toBool(), a[8]);
  auto state = [] { return at::zeros({}, at::kLong); };
  auto type = a[0].toTensor().scalar_type();
  out = {attention.output().to(type), attention.logsumexp().unsqueeze(-1), Tensor(), Tensor(),
         attention.query.size(2),     attention.key.size(2),               state(),  state(),
         Tensor()};
}

// (grad_out, query, key, value, out, logsumexp, seed, offset, bias, cum_q, cum_k, max_q, max_k,
//  dropout, causal, *, scale)
void cudnn_attention_backward(const Arguments& a, Results& out) {
  Attention attention(a[1].toTensor(), a[2].toTensor(), a[3].toTensor(), optional_tensor(a[8]),
                      a[13].toDouble(), a[14].toBool(), a[15]);
  out = attention.backward(a[0].toTensor());
  out.pop_back();
  for (IValue& gradient : out) gradient = gradient.toTensor().to(a[1].toTensor().scalar_type());
}

}  // namespace

Translation translation_of(const std::string& name) {
  static const std::unordered_map<std::string, Translation> all = {
      {"aten::cudnn_convolution", cudnn_convolution},
      {"aten::cudnn_convolution_transpose", cudnn_convolution_transpose},
      {"aten::_conv_depthwise2d", depthwise_convolution},
      {"aten::conv_depthwise3d", depthwise_convolution},
      {"aten::cudnn_batch_norm", cudnn_batch_norm},
      {"aten::cudnn_batch_norm_backward", cudnn_batch_norm_backward},
      {"aten::_scaled_dot_product_flash_attention", flash_attention},
      {"aten::_scaled_dot_product_flash_attention_backward", flash_attention_backward},
      {"aten::_scaled_dot_product_efficient_attention", efficient_attention},
      {"aten::_scaled_dot_product_efficient_attention_backward", efficient_attention_backward},
      {"aten::_scaled_dot_product_cudnn_attention", cudnn_attention},
      {"aten::_scaled_dot_product_cudnn_attention_backward", cudnn_attention_backward},
  };
  auto found = all.find(name);
  return found == all.end() ? nullptr : found->second;
}

}  // namespace emulator
