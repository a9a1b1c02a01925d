"""Search among ways to compress a network: what to try next, and what the tries came to.

Pure of Ray, torch and the control plane: a configuration is a pick from lists, a trial is numbers that somebody else
measured. Tables and dynamic programming (`latency`, `knapsack`, `seeds`) say where to begin, a sampler (`samplers`)
where to go on, `study` keeps the books, and `pareto` says what is worth keeping. Who makes and measures models is
`orchestrator.jobs`.
"""
