"""ONNX Runtime: static int8 QDQ, unsigned activations and signed weights per channel, its fastest variant on x86.

The quantize node at the input and the dequantize node at the output are cut off: 8-bit values go in and come out.
"""

from __future__ import annotations

import json
from pathlib import Path

from runtime_peers.peers import SAMPLE_COUNT

MODEL = "model.onnx"


def convert(network: str, precision: str, folder: Path) -> None:
    import numpy as np
    import torch

    from runtime_peers import networks

    x = networks.to_tensor(networks.calibration_pixels(network))
    target = folder / (MODEL if precision == "fp32" else "float.onnx")
    torch.onnx.export(
        networks.build(network),
        (x[:1],),
        str(target),
        input_names=["x"],
        output_names=["y"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    samples = x.numpy()[:SAMPLE_COUNT]
    output = {"scale": 1.0, "zero_point": 0}
    if precision == "int8":
        quantize(folder, x.numpy())
        (scale, zero_point), output = _cut_float_ends(folder / MODEL)
        samples = np.clip(np.rint(samples / scale) + zero_point, 0, 255).astype(np.uint8)
    (folder / "output.json").write_text(json.dumps(output))
    (folder / "samples.bin").write_bytes(samples.tobytes())


def quantize(folder: Path, inputs) -> None:
    """Turn `float.onnx` in `folder` into `model.onnx`, calibrated on `inputs` [N, ...]."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._samples = iter(inputs)

        def get_next(self):
            sample = next(self._samples, None)
            return None if sample is None else {"x": sample[None]}

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(folder / "float.onnx"), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(folder / MODEL),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    prepared.unlink()
    (folder / "float.onnx").unlink()


def _cut_float_ends(path: Path) -> tuple[tuple[float, int], dict]:
    """Make the input and the output of the stored model uint8; (scale, zero point) of both."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def grid(node) -> tuple[float, int]:
        scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        return float(scale), int(zero_point)

    (first,) = (node for node in graph.node if graph.input[0].name in node.input)
    (last,) = (node for node in graph.node if graph.output[0].name in node.output)
    if (first.op_type, last.op_type) != ("QuantizeLinear", "DequantizeLinear"):
        raise ValueError(f"expected quantization at both ends, found {first.op_type} and {last.op_type}")
    for node in graph.node:
        node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
        node.output[:] = ["y" if name == last.input[0] else name for name in node.output]
    input_grid, output_grid = grid(first), grid(last)
    graph.node.remove(first)
    graph.node.remove(last)
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return input_grid, dict(zip(("scale", "zero_point"), output_grid, strict=True))


class Session:
    def __init__(self, folder: Path, threads: int, path: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        self._binding.bind_output("y", "cpu")
        self._grid = json.loads((folder / "output.json").read_text())
        self._run = self._session._sess.run_with_iobinding
        self._bound = self._binding._iobinding

    def call(self) -> object:
        return self._run(self._bound, None)

    def bind(self, sample: bytes) -> None:
        import numpy as np
        import onnxruntime as ort

        (x,) = self._session.get_inputs()
        dtype = np.uint8 if x.type == "tensor(uint8)" else np.float32
        value = ort.OrtValue.ortvalue_from_numpy(np.frombuffer(sample, dtype).reshape(x.shape))
        self._binding.bind_ortvalue_input("x", value)

    def output(self) -> list[float]:
        (y,) = self._binding.copy_outputs_to_cpu()
        return [float(v) for v in (y.ravel().astype("float32") - self._grid["zero_point"]) * self._grid["scale"]]
