// What kernels would have written: after a CUDA operator has run on the emulated card (its host
// code allocates for real, its kernels do nothing), the same operator runs on the CPU, on views
// of the very same memory, and its results are put where the CUDA operator's results lie.
//
// operators.c loads this library when CUDA is first used; every operator that has a kernel for
// the dispatch key CUDA is then replaced by `Shadow`.
//
//   EMULATOR_COMPUTE=all      numbers as on the CPU (default)
//                    light    the expensive operators give zeros: what matters is memory
#define TORCH_ASSERT_ONLY_METHOD_OPERATORS

#include "shadow.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

extern "C" {  // kernels.c
void emulator_enter_operator();
void emulator_leave_operator();
}

namespace emulator {
namespace {

using at::Tensor;
using c10::IValue;
using c10::OperatorHandle;
using Names = std::unordered_set<std::string>;

// ---- which operators -------------------------------------------------------------------------

// Their host code reads a count from the device to size its result, so it cannot run before the
// numbers are there; that of cuDNN's attention needs more of cuDNN than there is. The CPU's
// result is copied to the card instead.
const Names CPU_ONLY = {
    "aten::nonzero", "aten::nonzero_static", "aten::_unique", "aten::_unique2",
    "aten::unique_dim", "aten::unique_consecutive", "aten::unique_dim_consecutive",
    "aten::masked_select", "torchvision::nms",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_cudnn_attention_backward",
};

// As do those of libraries that are not emulated: cuFFT, cuSOLVER.
bool runs_on_cpu_only(const std::string& name) {
  for (const char* family : {"aten::_fft", "aten::linalg_", "aten::_linalg"})
    if (name.rfind(family, 0) == 0) return true;
  return CPU_ONLY.count(name) > 0;
}

// Allocation, metadata and decisions: the card does them for real.
const Names NOTHING_TO_COMPUTE = {
    "aten::empty", "aten::empty_strided", "aten::resize_", "aten::set_", "aten::record_stream",
    "aten::is_pinned", "aten::_pin_memory", "aten::_local_scalar_dense", "aten::is_set_to",
    "aten::_efficientzerotensor", "aten::_cudnn_init_dropout_state", "aten::_fused_sdp_choice",
};

// Replaced, too, though their kernel is shared by all backends: it launches CUDA code itself.
const char* const SHARED[] = {"aten::copy_"};

// Slow in half precision on a CPU, hence done in float32; zeros in mode "light".
const Names EXPENSIVE = {
    "aten::cudnn_convolution", "aten::cudnn_convolution_transpose", "aten::convolution_backward",
    "aten::_conv_depthwise2d", "aten::conv_depthwise3d", "aten::mm", "aten::bmm", "aten::addmm",
    "aten::baddbmm", "aten::cudnn_batch_norm", "aten::cudnn_batch_norm_backward",
    "aten::native_batch_norm", "aten::native_batch_norm_backward", "aten::silu", "aten::silu_",
    "aten::silu_backward", "aten::max_pool2d_with_indices",
    "aten::max_pool2d_with_indices_backward", "aten::upsample_nearest2d",
    "aten::upsample_nearest2d_backward", "aten::_softmax", "aten::_softmax_backward_data",
    "aten::_log_softmax", "aten::_log_softmax_backward_data",
};

bool light() {
  static const char* mode = std::getenv("EMULATOR_COMPUTE");
  static const bool is = mode && std::string(mode) == "light";
  return is;
}

// ---- views of the card's memory as CPU tensors -----------------------------------------------

class Views {
 public:
  Tensor of(const Tensor& t) {
    if (!t.defined() || !t.is_cuda() || !t.has_storage()) return t;
    auto& view = tensors_[t.unsafeGetTensorImpl()];
    if (!view.defined()) view = make(t);
    return view;
  }

  IValue of(const IValue& value) {
    if (value.isTensor()) return of(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& t : value.toTensorVector()) list.push_back(of(t));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& t : value.toOptionalTensorVector())
        list.push_back(t ? std::optional<Tensor>(of(*t)) : std::nullopt);
      return list;
    }
    if (value.isDevice() && value.toDevice().is_cuda()) return c10::Device(at::kCPU);
    if (value.isGenerator()) return generator(value.toGenerator());
    return value;
  }

 private:
  Tensor make(const Tensor& t) {
    auto& storage = storages_[t.storage().unsafeGetStorageImpl()];
    if (!storage) {
      void* memory = t.storage().mutable_data();
      storage = c10::Storage(c10::Storage::use_byte_size_t(), t.storage().nbytes(),
                             c10::DataPtr(memory, c10::Device(at::kCPU)), nullptr, false);
    }
    Tensor view = at::detail::make_tensor<c10::TensorImpl>(
        c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), t.dtype());
    view.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
    return view;
  }

  // A CPU generator that depends on seed and position of CUDA's, which the CUDA operator's host
  // code has moved on: repeatable, and the CPU's own stream stays untouched.
  static at::Generator generator(const at::Generator& of) {
    if (of.device().is_cpu()) return of;
    at::Generator own = at::globalContext().defaultGenerator(at::kCPU).clone();
    own.set_current_seed(of.current_seed() * 0x9e3779b97f4a7c15ull + of.get_offset());
    return own;
  }

  std::unordered_map<c10::TensorImpl*, Tensor> tensors_;
  std::unordered_map<c10::StorageImpl*, c10::Storage> storages_;
};

// ---- running one operator on the CPU ---------------------------------------------------------

bool writes(const c10::Argument& argument) {
  return argument.alias_info() && argument.alias_info()->isWrite();
}

bool is_half(const Tensor& t) {
  return t.defined() && (t.scalar_type() == at::kHalf || t.scalar_type() == at::kBFloat16);
}

bool has_half(const Arguments& arguments) {
  for (const IValue& value : arguments) {
    if (value.isTensor() && is_half(value.toTensor())) return true;
    if (value.isTensorList())
      for (const Tensor& t : value.toTensorVector())
        if (is_half(t)) return true;
  }
  return false;
}

// The value with half precision replaced by float32; `changed` pairs old and new tensors.
IValue widened(const IValue& value, std::vector<std::pair<Tensor, Tensor>>& changed) {
  auto one = [&](const Tensor& t) {
    if (!is_half(t)) return t;
    changed.emplace_back(t, t.to(at::kFloat));
    return changed.back().second;
  };
  if (value.isTensor()) return one(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<Tensor> list;
  for (const Tensor& t : value.toTensorVector()) list.push_back(one(t));
  return list;
}

// Softmax that converts half to float on the way exists for CUDA only. The arguments have been
// widened already, and `put` narrows what comes back.
void drop_conversion(const std::string& name, Arguments& arguments) {
  if (name == "aten::_softmax" || name == "aten::_log_softmax")
    arguments[2] = false;  // half_to_float
  else if (name == "aten::_softmax_backward_data" || name == "aten::_log_softmax_backward_data")
    arguments[3] = arguments[0].toTensor().scalar_type();  // input_dtype
}

void call(const OperatorHandle& op, const std::string& name, const Arguments& arguments,
          Results& out) {
  if (Translation translate = translation_of(name)) return translate(arguments, out);
  out.insert(out.end(), arguments.begin(), arguments.end());
  op.callBoxed(&out);
}

void call_widened(const OperatorHandle& op, const std::string& name, Arguments arguments,
                  Results& out) {
  std::vector<std::pair<Tensor, Tensor>> changed;
  for (IValue& argument : arguments) argument = widened(argument, changed);
  drop_conversion(name, arguments);
  call(op, name, arguments, out);
  for (const c10::Argument& argument : op.schema().arguments())
    if (writes(argument)) {
      for (auto& [narrow, wide] : changed) narrow.copy_(wide);
      return;
    }
}

// In float32 where half precision is slow or missing on the CPU.
void run_on_cpu(const OperatorHandle& op, const std::string& name, const Arguments& arguments,
                Results& out) {
  if (!EXPENSIVE.count(name)) {
    try {
      return call(op, name, arguments, out);
    } catch (const c10::Error&) {
      if (!has_half(arguments)) throw;
      out.clear();
    }
  }
  call_widened(op, name, arguments, out);
}

// ---- bringing results to the card ------------------------------------------------------------

// Put one result of the CPU where the result of the CUDA operator lies.
void put(const IValue& device, const IValue& host, Views& views, const std::string& name) {
  if (device.isTensor() && host.isTensor()) {
    Tensor to = device.toTensor(), from = host.toTensor();
    if (!to.defined() || !from.defined() || !to.is_cuda() || !to.numel()) return;
    TORCH_CHECK(to.sizes() == from.sizes(), "emulated card: ", name, " gave ", from.sizes(),
                " on the CPU and ", to.sizes(), " on CUDA");
    Tensor view = views.of(to);
    if (!view.is_alias_of(from)) view.copy_(from);
  } else if (device.isTensorList() && host.isTensorList()) {
    auto to = device.toTensorVector(), from = host.toTensorVector();
    for (size_t i = 0; i < to.size() && i < from.size(); i++) put(to[i], from[i], views, name);
  }
}

IValue copied_to_card(const IValue& host) {
  if (!host.isTensor() || !host.toTensor().defined()) return host;
  const Tensor& from = host.toTensor();
  Tensor to = at::empty_strided(from.sizes(), from.strides(), from.options().device(at::kCUDA));
  Views().of(to).copy_(from);
  return to;
}

void zero(const IValue& device, Views& views) {
  if (device.isTensor() && device.toTensor().defined() && device.toTensor().is_cuda())
    views.of(device.toTensor()).zero_();
}

// ---- the replacement of a CUDA kernel --------------------------------------------------------

// What the operators under way will write. An operator that calls others, as the foreach
// operators do on mixed layouts, writes its arguments itself: else they were changed twice.
thread_local std::vector<const c10::StorageImpl*> written_later;

class Writing {
 public:
  Writing(const c10::FunctionSchema& schema, const Arguments& arguments)
      : before_(written_later.size()) {
    for (size_t i = 0; i < arguments.size(); i++) {
      if (!writes(schema.arguments()[i])) continue;
      if (arguments[i].isTensor()) add(arguments[i].toTensor());
      if (arguments[i].isTensorList())
        for (const Tensor& t : arguments[i].toTensorVector()) add(t);
    }
    emulator_enter_operator();
  }
  ~Writing() {
    emulator_leave_operator();
    written_later.resize(before_);
  }
  bool left_to_caller() const { return left_to_caller_; }

 private:
  void add(const Tensor& t) {
    if (!t.defined() || !t.has_storage()) return;
    const auto* storage = t.storage().unsafeGetStorageImpl();
    for (size_t i = 0; i < before_; i++) left_to_caller_ |= written_later[i] == storage;
    written_later.push_back(storage);
  }
  size_t before_;
  bool left_to_caller_ = false;
};

struct Shadow : c10::OperatorKernel {
  Shadow(c10::SafeKernelFunction kernel, const std::string& operator_name)
      : original(std::move(kernel)),
        name(operator_name),
        cpu_only(runs_on_cpu_only(name)),
        zeros(light() && !cpu_only && (EXPENSIVE.count(name) || is_attention(name))) {}

  static bool is_attention(const std::string& name) {
    return name.rfind("aten::_scaled_dot_product_", 0) == 0;
  }

  void operator()(const OperatorHandle& op, c10::DispatchKeySet keys, Results* stack) {
    const auto& schema = op.schema();
    const size_t n = schema.arguments().size();
    Arguments arguments(stack->end() - n, stack->end());
    if (!cpu_only) {
      Writing writing(schema, arguments);
      original.callBoxed(op, keys, stack);
      if (writing.left_to_caller()) return;
    }
    // Autograd and autocast have done their part above this kernel.
    c10::impl::ExcludeDispatchKeyGuard below(c10::autograd_dispatch_keyset_with_ADInplaceOrView |
                                             c10::autocast_dispatch_keyset);
    Views views;
    const auto results = stack->end() - (cpu_only ? 0 : schema.returns().size());
    if (zeros) {
      for (auto it = results; it != stack->end(); ++it) zero(*it, views);
      return;
    }
    Results host;
    run_on_cpu(op, name, on_cpu(schema, arguments, views), host);
    if (cpu_only) {
      torch::jit::drop(*stack, n);
      for (const IValue& value : host) stack->push_back(copied_to_card(value));
      return;
    }
    for (size_t i = 0; i < schema.returns().size() && i < host.size(); i++) {
      const auto* alias = schema.returns()[i].alias_info();
      if (alias && alias->isWrite()) continue;  // written in place, through the view
      IValue& device = *(results + i);
      if (device.isTensor() || device.isTensorList())
        put(device, host[i], views, name);
      else
        device = host[i];
    }
  }

  static Arguments on_cpu(const c10::FunctionSchema& schema, const Arguments& arguments,
                          Views& views) {
    Arguments out;
    for (size_t i = 0; i < arguments.size(); i++) {
      IValue value = arguments[i];
      // Without a generator a CUDA operator draws from the default one of the current device.
      if (value.isNone() && schema.arguments()[i].type()->str() == "Generator?")
        value = at::globalContext().defaultGenerator(at::Device(at::kCUDA, -1));
      out.push_back(views.of(value));
    }
    return out;
  }

  c10::SafeKernelFunction original;
  std::string name;
  bool cpu_only, zeros;
};

// ---- replacing them --------------------------------------------------------------------------

bool makes_view(const c10::FunctionSchema& schema) {
  for (const auto& result : schema.returns())
    if (result.alias_info() && !result.alias_info()->isWrite()) return true;
  return false;
}

bool is_replaceable(const OperatorHandle& op) {
  const c10::OperatorName& name = op.schema().operator_name();
  if (NOTHING_TO_COMPUTE.count(name.name) || makes_view(op.schema())) return false;
  // What copies its result to the card has no place to copy to.
  bool has_out = name.overload_name.find("out") != std::string::npos;
  if (runs_on_cpu_only(name.name) && has_out) return false;
  if (!op.hasComputedKernelForDispatchKey(c10::DispatchKey::CUDA)) return false;
  return op.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU) || translation_of(name.name);
}

void replace(const c10::OperatorName& operator_name) {
  static auto& replaced = *new Names;
  static auto& libraries = *new std::unordered_map<std::string, std::unique_ptr<torch::Library>>;
  auto op = c10::Dispatcher::singleton().findSchema(operator_name);
  if (!op || !is_replaceable(*op)) return;
  std::string full = c10::toString(operator_name);
  if (!replaced.insert(full).second) return;

  std::string space = full.substr(0, full.find("::"));
  auto& library = libraries[space];
  if (!library)
    library = std::make_unique<torch::Library>(torch::Library::IMPL, space, c10::DispatchKey::CUDA,
                                               __FILE__, __LINE__);
  auto shadow = std::make_unique<Shadow>(
      op->getComputedKernelForDispatchKey(c10::DispatchKey::CUDA), operator_name.name);
  library->impl(full.substr(space.size() + 2).c_str(),
                torch::CppFunction::makeFromBoxedFunctor(std::move(shadow)));
}

struct Silent : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace
}  // namespace emulator

// Called by operators.c whenever a library may have brought operators.
extern "C" __attribute__((visibility("default"))) void emulator_replace_operators() {
  static std::mutex mutex;
  std::unique_lock<std::mutex> guard(mutex, std::try_to_lock);
  if (!guard.owns_lock()) return;
  emulator::Silent silent;  // that kernels are replaced is the purpose
  c10::WarningUtils::WarningHandlerGuard quiet(&silent);
  for (const auto& name :
       c10::Dispatcher::singleton().getRegistrationsForDispatchKey(c10::DispatchKey::CUDA))
    emulator::replace(name);
  for (const char* name : emulator::SHARED) emulator::replace({name, ""});
}
