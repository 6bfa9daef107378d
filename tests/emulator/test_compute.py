"""Numbers of an emulated card are the CPU's."""

import pytest

OPERATORS = """
    from torch.nn import functional as F
    torch.manual_seed(0)
    x, w = torch.randn(4, 8, 16, 16), torch.randn(8, 8, 3, 3)
    mask, index = torch.rand(4, 8) > 0.5, torch.randint(0, 8, (4, 5))
    cases = {
        "half": lambda t: t(x).half() + 1,
        "convolution": lambda t: F.conv2d(t(x), t(w), stride=2, padding=1),
        "depthwise": lambda t: F.conv2d(t(x), t(w[:, :1]), groups=8),
        "transposed": lambda t: F.conv_transpose2d(t(x), t(w), stride=2),
        "batch norm": lambda t: F.batch_norm(t(x), None, None, training=True),
        "half softmax": lambda t: torch.softmax(t(x).half(), 1, dtype=torch.float32),
        "matmul": lambda t: t(x) @ t(x).transpose(-1, -2),
        "addmm": lambda t: torch.addmm(t(x[0, 0]).half(), t(x[0, 1]).half(), t(x[0, 2]).half()),
        "nonzero": lambda t: t(mask).nonzero(),
        "index": lambda t: t(x)[t(mask)],
        "index put": lambda t: torch.zeros_like(t(x)).index_put_((t(mask),), t(x)[t(mask)]),
        "unique": lambda t: t(index).unique(return_counts=True)[1],
        "scatter": lambda t: torch.zeros_like(t(x[..., 0, 0])).scatter_(1, t(index), 1.0),
        "topk": lambda t: t(x).topk(3)[0],
        "channels last": lambda t: F.conv2d(t(x).to(memory_format=torch.channels_last), t(w)),
        "cross entropy": lambda t: F.cross_entropy(t(x).half(), t(x).argmax(1)),
        "inverse": lambda t: torch.linalg.inv(t(x[0, 0])),
        "fft": lambda t: torch.fft.rfft(t(x)).abs(),
    }
    wrong = []
    for name, case in cases.items():
        expected, found = case(lambda t: t).float(), case(lambda t: t.cuda()).float()
        if not found.is_cuda or not torch.allclose(found.cpu(), expected, rtol=2e-3, atol=2e-3):
            wrong.append(name)
    # Mixed layouts send foreach to its slow path, which calls other operators in place.
    a, b = x.cuda(), x.cuda().to(memory_format=torch.channels_last)
    torch._foreach_add_([a], [b])
    if not torch.equal(a.cpu(), x + x):
        wrong.append("foreach")
    draws = []
    for _ in range(2):
        torch.cuda.manual_seed(1)
        draws.append(torch.randn(5, device="cuda").tolist())
    answer(wrong=wrong, repeats=draws[0] == draws[1])
"""


def test_operators_give_what_they_give_on_the_cpu(card) -> None:
    assert card().run(OPERATORS) == {"wrong": [], "repeats": True}


AMP = """
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).cuda()
    optimizer, scaler = torch.optim.AdamW(net.parameters(), lr=1e-2), torch.amp.GradScaler("cuda")
    images, labels = torch.rand(8, 3, 64, 64).cuda(), torch.arange(8).cuda()
    losses, scales = [], []
    for step in range(6):
        with torch.autocast("cuda", dtype=torch.float16):
            out = net(images)
            loss = nn.functional.cross_entropy(out, labels) * (float("inf") if step == 3 else 1)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        before = net[0].weight.detach().clone()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
        scales.append([scaler.get_scale(), bool((net[0].weight != before).any())])
    answer(dtype=str(out.dtype), losses=losses, scales=scales)
"""


def test_an_amp_step_trains_and_the_scaler_skips_what_is_not_finite(card) -> None:
    seen = card().run(AMP)
    assert seen["dtype"] == "torch.float16"
    assert seen["losses"][-1] < seen["losses"][0]
    moved = [[65536.0, True]] * 3
    assert seen["scales"] == [*moved, [32768.0, False], *[[32768.0, True]] * 2]


YOLO = """
    import copy
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=10, verbose=False)
    model.args = get_cfg()
    for name, p in model.named_parameters():
        p.requires_grad_(".dfl" not in name)
    batch = {
        "img": torch.rand(2, 3, 64, 64), "batch_idx": torch.tensor([0.0, 0, 1]),
        "cls": torch.randint(0, 10, (3, 1)).float(), "bboxes": torch.rand(3, 4) * 0.4 + 0.3,
    }
    def step(device):
        m = copy.deepcopy(model).to(device).train()
        m.criterion = m.init_criterion()
        loss, _ = m({k: v.to(device) for k, v in batch.items()})
        loss.sum().backward()
        grads = [p.grad.cpu().flatten() for p in m.parameters() if p.grad is not None]
        return loss.sum().item(), torch.cat(grads)
    (loss, gradient), (found, other) = step("cpu"), step("cuda")
    error = (other - gradient).norm() / gradient.norm()
    answer(loss=abs(found / loss - 1), gradient=error.item(), n=len(gradient))
"""


def test_the_loss_and_gradients_of_yolo_are_those_of_the_cpu(card) -> None:
    seen = card().run(YOLO)
    assert seen["n"] > 2_000_000
    assert seen["loss"] < 2e-6 and seen["gradient"] < 2e-6


ATTENTION = """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
    torch.manual_seed(0)
    backend, dtype = SDPBackend.{backend}, torch.{dtype}
    def run(device, dtype, backend, causal, bias):
        inputs = [t.to(device, dtype, copy=True).requires_grad_() for t in tensors[:-1]]
        if bias is not None:
            inputs.append(bias.to(device, dtype, copy=True).requires_grad_())
        with sdpa_kernel(backend):
            out = scaled_dot_product_attention(
                *inputs[:3], attn_mask=inputs[3] if inputs[3:] else None, is_causal=causal)
        out.backward(tensors[-1].to(device, dtype))
        return [t.detach().cpu().float() for t in (out, *(t.grad for t in inputs))]
    tensors = [torch.randn(2, 4, 40, 32) for _ in range(4)]  # 40: not a multiple of 32
    plans = [(False, None), (True, None)]
    if backend is SDPBackend.EFFICIENT_ATTENTION:
        plans.append((False, torch.randn(1, 4, 40, 40)))
    worst = 0.0
    for plan in plans:
        expected = run("cpu", torch.float32, SDPBackend.MATH, *plan)
        found = run("cuda", dtype, backend, *plan)
        assert len(found) == len(expected)
        worst = max(worst, *(((f - e).abs().max() / e.abs().max()).item()
                             for f, e in zip(found, expected)))
    answer(worst=worst)
"""


@pytest.mark.parametrize(
    ("backend", "dtype", "error"),
    [
        ("FLASH_ATTENTION", "float16", 2e-3),
        ("EFFICIENT_ATTENTION", "float32", 2e-6),
        ("CUDNN_ATTENTION", "bfloat16", 2e-2),
    ],
)
def test_fused_attention_is_that_of_the_cpu_forward_and_backward(
    card, backend: str, dtype: str, error: float
) -> None:
    assert card().run(ATTENTION.format(backend=backend, dtype=dtype))["worst"] < error


def test_light_computing_gives_zeros_and_the_same_memory(card) -> None:
    script = """
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.BatchNorm2d(64)).cuda()
        net(torch.rand(2, 3, 64, 64).cuda() + 1).sum().backward()
        answer(peak=torch.cuda.max_memory_allocated(), grad=net[0].weight.grad.any().item())
    """
    full, light = (card(compute=mode).run(script) for mode in ("all", "light"))
    assert full["peak"] == light["peak"]
    assert full["grad"] and not light["grad"]
