"""One module per runtime, each with the same two names.

`convert(network, precision, folder)` writes the model and `samples.bin` into `folder`: the first `SAMPLE_COUNT`
calibration inputs in the type and layout that the runtime takes, back to back. Runs where its converter is installed.

`Session(folder, threads, path)` loads the model. `bind(sample)` puts one sample where the runtime reads its input,
`call()` is one inference by the runtime's cheapest path, `output()` is what the last one computed, as floats. Only
`call` is timed.
"""

SAMPLE_COUNT = 8
