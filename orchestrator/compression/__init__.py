"""Compression: torch networks in, compressed models out. Knows neither Ray nor gRPC.

    training.classifier, training.distillation, prune  a float network, made or made smaller
    capture -> quantize -> lower -> golden             a float network becomes a model (`pipeline.compress`)
    rules                                              answers as rules: of a table, for or in front of a network
    evaluation, certificate                            what it is worth, by the engine that devices run

Import from the modules; this one loads nothing, so that a recipe or an error costs no torch.
"""
