"""What torch sees and does on an emulated card."""

import pytest

from sweeper.emulator.machine import Card


def test_the_device_says_what_it_is(card) -> None:
    seen = card(gib=8, name="Emulated RTX 2070", capability="7.5").run("""
        properties = torch.cuda.get_device_properties(0)
        answer(name=properties.name, capability=torch.cuda.get_device_capability(),
               uuid=str(properties.uuid), total=properties.total_memory / GIB,
               free=[n / GIB for n in torch.cuda.mem_get_info()])
    """)
    assert seen == {
        "name": "Emulated RTX 2070",
        "capability": [7, 5],
        "uuid": "656d756c-6174-6564-0000-000000000000",  # "emulated" in ASCII
        "total": 8.0,
        "free": [8.0 - 300 / 1024, 8.0],
    }


def test_a_card_loads_what_torch_was_compiled_for_it(card) -> None:
    """8.9 has no kernels of its own in torch, it runs those for 8.6; CUB asks which these are."""
    seen = card(capability="8.9").run("""
        answer(sums=torch.ones(4, device="cuda").cumsum(0).tolist())
    """)
    assert seen["sums"] == [1, 2, 3, 4]


def test_copies_streams_and_pinned_memory_are_real(card) -> None:
    seen = card().run("""
        host = torch.arange(1000, dtype=torch.float32)
        pinned = host.pin_memory()
        with torch.cuda.stream(torch.cuda.Stream()):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            device = pinned.to("cuda", non_blocking=True)
            end.record()
        torch.cuda.synchronize()
        answer(same=torch.equal(device.cpu(), host), pinned=[host.is_pinned(), pinned.is_pinned()],
               timed=start.elapsed_time(end) >= 0, device=str(device.device))
    """)
    assert seen == {"same": True, "pinned": [False, True], "timed": True, "device": "cuda:0"}


FILL = """
    if {cap_gib}:
        torch.cuda.set_per_process_memory_fraction({cap_gib} / 8)
    held = []
    try:
        while True:
            held.append(torch.empty(GIB // 2, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        message = str(error)
    stats = torch.cuda.memory_stats()
    answer(blocks=len(held), message=message, ooms=stats["num_ooms"],
           retries=stats["num_alloc_retries"], reserved=torch.cuda.max_memory_reserved() / GIB)
"""


@pytest.mark.parametrize(("cap_gib", "blocks"), [(2, 4), (0, 15)])
def test_torchs_allocator_runs_out_at_the_cap_and_at_the_card(card, cap_gib, blocks) -> None:
    seen = card(gib=8).run(FILL.format(cap_gib=cap_gib))
    assert seen["message"].startswith("CUDA out of memory. Tried to allocate 512.00 MiB.")
    assert (seen["blocks"], seen["reserved"]) == (blocks, blocks / 2)
    assert (seen["ooms"], seen["retries"]) == (1, 1)


def test_the_driver_keeps_its_share(card) -> None:
    seen = card(gib=8, driver_mib=256, context_mib=512).run("""
        torch.cuda.init()
        answer(gib=[n / GIB for n in torch.cuda.mem_get_info()])
    """)
    assert seen["gib"] == [7.25, 7.75]


def test_what_cudnn_asks_for_comes_from_the_allocator(card) -> None:
    script = """
        net = torch.nn.Conv2d(3, 8, 3).cuda()
        net(torch.rand(1, 3, 32, 32).cuda())
        answer(mib=torch.cuda.max_memory_allocated() / MIB)
    """
    without, with_it = (card(workspace_mib=n).run(script)["mib"] for n in (0, 100))
    assert with_it - without == pytest.approx(100, abs=0.1)


def test_kernels_make_the_context_grow_once(card) -> None:
    seen = card(kernels_mib=100).run("""
        x = torch.empty(8, device="cuda")
        free = [torch.cuda.mem_get_info()[0]]
        for _ in range(2):
            x.fill_(1)
            free.append(torch.cuda.mem_get_info()[0])
        answer(mib=[(a - b) / MIB for a, b in zip(free, free[1:])])
    """)
    assert seen["mib"] == [100, 0]


def test_cards_are_pinned_by_uuid(cards) -> None:
    machine = cards(Card(24), Card(8, "RTX 2070", "7.5"))
    script = """
        torch.zeros(1, device="cuda")
        answer(cards=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())])
    """
    names = ["Emulated 24 GB", "Emulated RTX 2070"]
    assert machine.run(script)["cards"] == names
    first, second = machine.uuids
    assert machine.run(script, CUDA_VISIBLE_DEVICES=second)["cards"] == names[1:]
    assert machine.run(script, CUDA_VISIBLE_DEVICES=f"{second},{first}")["cards"] == names[::-1]


def test_a_fork_cannot_use_the_context_of_its_parent(card) -> None:
    done = card().attempt("""
        torch.zeros(1, device="cuda")
        pid = os.fork()
        if pid:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        torch.zeros(1, device="cuda")
    """)
    assert done.code == 1 and "Cannot re-initialize CUDA in forked subprocess" in done.err


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"cuda": "12.8", "driver": "570.86.15"}, "driver on your system is too old"),
        ({"capability": "6.1"}, "no kernel image is available"),
    ],
)
def test_software_that_does_not_fit_fails_as_on_a_gpu(card, machine, said) -> None:
    done = card(**machine).attempt('torch.zeros(4, device="cuda").add_(1)')
    assert done.code == 1 and said in done.err


EXPANDABLE = """
    free = torch.cuda.mem_get_info()[0]
    def use():  # what torch reserved, and what left the card
        return [torch.cuda.memory_reserved() // MIB, (free - torch.cuda.mem_get_info()[0]) // MIB]
    a = torch.full((300 * MIB,), 5, dtype=torch.uint8, device="cuda")
    b = torch.full((100 * MIB,), 7, dtype=torch.uint8, device="cuda")
    segments = [s["is_expandable"] for s in torch.cuda.memory_snapshot()]
    steps = [use()]
    del a
    torch.cuda.empty_cache()
    steps.append(use())
    c = torch.zeros(350 * MIB, dtype=torch.uint8, device="cuda")
    steps.append(use())
    kept = bool((b == 7).all()) and not c.any()
    del b, c
    torch.cuda.empty_cache()
    steps.append(use())
    try:
        held = [torch.empty(GIB // 2, dtype=torch.uint8, device="cuda") for _ in range(100)]
    except torch.OutOfMemoryError:
        answer(segments=segments, steps=steps, kept=kept)
"""


def test_expandable_segments_grow_shrink_and_run_out(card) -> None:
    seen = card(gib=4).run(EXPANDABLE, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    assert seen["segments"] == [True]
    # 400 MiB in blocks of 20; what is emptied goes back to the card, and is taken anew.
    assert seen["steps"] == [[400, 400], [100, 100], [460, 460], [0, 0]]
    assert seen["kept"]
