"""Distillation to rules: a teacher's answers as small decision trees over int8 features.

growth (split, values, queries) -> merging         rules for features and a teacher's probabilities (`fitting`)
table, model                                       the integers that a device runs, alone
tap, cascade, editing                              in a network's place or in front of it
fidelity, text                                     how well they follow, and what they say
tabular.distill_tabular, network.distill_rules     all of that in one call
"""
