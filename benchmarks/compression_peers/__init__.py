"""What compression costs in accuracy, ours beside other compressors': see `benchmarks/compression_peers.py`.

Fourteen rows are judged, a module each in `rows`; a row that nobody has built yet counts as missed. The peers run in
environments of their own (`runtime_peers.environments`), a process each (`peers`).

A row
-----
`rows/rNN_name.py` has one `ROW = Row(...)`, and `rows/__init__.py` lists it. To build one, give it two functions:

    def run(bench: Bench) -> Iterator[Outcome | Figure]:
        for subject in bench.subjects(ROW.networks):     # every network under every seed of this run
            yield subject.quantized(ROW.number, OURS, Recipe(weight_bits=4))

    def judge(results: Results, networks: Sequence[str]) -> list[Check]:
        return [at_most(f"{n}: points lost", results.lost(2, n, OURS), 0.4) for n in networks]

- An `Outcome` is what one method made of one network under one seed: which of the 10,000 test images were answered
  rightly (by the engine, where it is ours), bytes, seconds, latency. `subject.quantized` compresses by a recipe and
  `subject.judged` times any function that returns an `Artifact`; both answer, time and keep it for row 14.
  `subject.simulated` is for a float network on the way there.
- A `Figure` is any other number: a fidelity, a share of a hypervolume. Networks and seeds do not matter to it.
- `judge` is pure: from everything that was measured, and the networks that this run judges, to named checks with their
  limits. A row is met when there are checks and all hold; NaN and what was not measured never hold.
- `bench.quick` asks for less: ResNet-8 and DS-CNN, one seed, short training. Rows with `quick=True` are judged then.
- `bench.kept(key, make)` shares what two rows need. Times are wall clock on a quiet machine; the JSON has CPU seconds.
- A peer's missing installation is an `Outcome` with an `error`. Any other exception ends that row as missed, and the
  run goes on.

A network is an entry in `networks.NETWORKS`, with its training and its fair fp32 accuracy in `teachers`.
"""
