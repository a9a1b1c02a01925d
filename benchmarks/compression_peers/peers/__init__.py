"""One module per peer, each with one of two functions; imported only in that peer's environment, by `worker`.

    quantize(model, calibrate, folder) -> (predict, size_bytes)
        W8A8 after training. `predict` takes float32 [N, ...] to logits [N, classes], tensors both; `size_bytes` is that
        of a stored file, 0 where the peer only simulates.
    prune(model, samples, labels, fraction) -> model
        `fraction` of the multiplications (channels really removed) or of the weights (the others zero) stays; not
        trained afterwards.

`model` is a float torch module in evaluation mode, samples are normalised float32 [N, C, H, W].
"""
