"""ExecuTorch with XNNPACK, int8 through its own quantizer. Takes and gives float32: the delegate converts inside."""

from __future__ import annotations

from pathlib import Path

from runtime_peers.peers import SAMPLE_COUNT

MODEL = "model.pte"


def convert(network: str, precision: str, folder: Path) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from runtime_peers import networks

    x = _channels_last(networks.to_tensor(networks.calibration_pixels(network)))
    exported = torch.export.export(networks.build(network), (x[:1],))
    if precision == "int8":
        exported = torch.export.export(_quantize(exported.module(), x), (x[:1],))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / MODEL).write_bytes(program.buffer)
    # As stored: channels first; `bind` restores the layout that the program was exported with.
    (folder / "samples.bin").write_bytes(x[:SAMPLE_COUNT].contiguous().numpy().tobytes())
    (folder / "shape.txt").write_text(" ".join(map(str, x[:1].shape)))


def _channels_last(x):
    import torch

    # One channel has no order, and a program exported with one that it cannot tell refuses its own inputs.
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 and x.shape[1] > 1 else x


def _quantize(module, inputs):
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        for index in range(len(inputs)):
            prepared(inputs[index : index + 1])
    return convert_pt2e(prepared)


class Session:
    def __init__(self, folder: Path, threads: int, path: str) -> None:
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(threads)
        self._module = portable_lib._load_for_executorch(str(folder / MODEL))
        self._shape = tuple(map(int, (folder / "shape.txt").read_text().split()))

    def call(self) -> object:
        return self._module.forward(self._inputs, False)

    def bind(self, sample: bytes) -> None:
        import torch

        x = torch.frombuffer(bytearray(sample), dtype=torch.float32).reshape(self._shape)
        self._inputs = [_channels_last(x)]

    def output(self) -> list[float]:
        return self.call()[0].ravel().tolist()
