"""ONNX files, in and out: `reader` takes a file apart and trusts nothing in it, `export` writes a compressed model.

Neither needs torch; `orchestrator.compression.from_onnx` makes a network of what the reader gives. The `onnx` package
is an extra: pip install 'espalier-edge[onnx]'.
"""
