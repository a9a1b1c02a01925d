"""OpenVINO: converted from torch, int8 by NNCF, which also lets it take uint8 with channels last."""

from __future__ import annotations

from pathlib import Path

from runtime_peers.peers import SAMPLE_COUNT

MODEL = "model.xml"


def convert(network: str, precision: str, folder: Path) -> None:
    import openvino as ov

    from runtime_peers import networks

    pixels = networks.calibration_pixels(network)
    x = networks.to_tensor(pixels)
    source = networks.build(network)  # held until the model is stored, because that shares its weights' memory
    model = ov.convert_model(source, example_input=x[:1], input=[list(x[:1].shape)])
    samples = x.numpy()[:SAMPLE_COUNT]
    if precision == "int8":
        model = _take_pixels(_quantize(model, x.numpy()), rank=x.dim())
        samples = pixels[:SAMPLE_COUNT]
        if x.dim() == 4:
            samples = samples.transpose(0, 2, 3, 1)
    ov.save_model(model, folder / MODEL, compress_to_fp16=False)
    (folder / "samples.bin").write_bytes(samples.tobytes())


def _quantize(model, inputs):
    import nncf

    dataset = nncf.Dataset([sample[None] for sample in inputs])
    return nncf.quantize(
        model,
        dataset,
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(inputs),
    )


def _take_pixels(model, rank: int):
    """uint8 in, divided by 255 inside, where the plugin folds it into the first quantization."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8)
    if rank == 4:
        steps.input().tensor().set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    return steps.build()


class Session:
    def __init__(self, folder: Path, threads: int, path: str) -> None:
        import openvino as ov

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        if "fp32" in folder.name:  # else bfloat16 where the CPU has it, which is not what the row says
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        self._compiled = ov.Core().compile_model(str(folder / MODEL), "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._infer = super(ov.InferRequest, self._request).infer

    def call(self) -> object:
        # Below the wrapper, which inspects and copies; inputs are bound before, outputs shared.
        return self._infer({}, True, False)

    def bind(self, sample: bytes) -> None:
        import numpy as np
        import openvino as ov

        port = self._compiled.input()
        x = np.frombuffer(sample, port.element_type.to_dtype()).reshape(tuple(port.shape)).copy()
        self._request.set_input_tensor(ov.Tensor(x, shared_memory=True))

    def output(self) -> list[float]:
        return [float(v) for v in self._request.get_output_tensor().data.ravel()]
