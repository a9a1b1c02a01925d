"""LiteRT: `litert-torch` to a flatbuffer with channels last, int8 by the quantizer's static recipe, run by XNNPACK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime_peers.peers import SAMPLE_COUNT

MODEL = "model.tflite"


def convert(network: str, precision: str, folder: Path) -> None:
    import litert_torch
    import numpy as np

    from runtime_peers import networks

    model = networks.build(network)
    x = networks.to_tensor(networks.calibration_pixels(network))
    if x.dim() == 4:
        model = litert_torch.to_channel_last_io(model, args=[0]).eval()
        x = x.permute(0, 2, 3, 1).contiguous()
    inputs = x.numpy()
    float_model = folder / MODEL if precision == "fp32" else folder / "float.tflite"
    litert_torch.convert(model, (x[:1],)).export(str(float_model))
    samples = inputs[:SAMPLE_COUNT]
    if precision == "int8":
        scale, zero_point = _quantize(float_model, inputs, folder / MODEL)
        samples = np.clip(np.rint(samples / scale) + zero_point, -128, 127).astype(np.int8)
        float_model.unlink()
    (folder / "samples.bin").write_bytes(samples.tobytes())


def _quantize(float_model: Path, inputs, target: Path) -> tuple[float, int]:
    """Write the int8 model; its input's scale and zero point."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    signature = Interpreter(str(float_model)).get_signature_list()
    (key,) = signature
    (name,) = signature[key]["inputs"]
    work = quantizer.Quantizer(str(float_model))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = work.calibrate({key: [{name: sample[None]} for sample in inputs]}, num_threads=1)
    work.quantize(ranges).export_model(str(target), overwrite=True)
    return Interpreter(str(target)).get_input_details()[0]["quantization"]


class Session:
    def __init__(self, folder: Path, threads: int, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / MODEL), num_threads=threads)
        interpreter.allocate_tensors()
        (self._input,) = interpreter.get_input_details()
        (self._output,) = interpreter.get_output_details()
        self._interpreter = interpreter
        # Below the public `invoke`, which also looks for views of tensors; the input is in place before.
        self.call: Callable[[], object] = interpreter._interpreter.Invoke

    def bind(self, sample: bytes) -> None:
        import numpy as np

        x = np.frombuffer(sample, self._input["dtype"]).reshape(self._input["shape"])
        self._interpreter.set_tensor(self._input["index"], x)

    def output(self) -> list[float]:
        y = self._interpreter.get_tensor(self._output["index"]).ravel()
        scale, zero_point = self._output["quantization"]
        return [float(v) for v in (y if scale == 0 else (y.astype("float32") - zero_point) * scale)]
