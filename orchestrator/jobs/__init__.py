"""Compression jobs: the stages of a job on a Ray cluster, from the teacher to a published model.

The only place that imports Ray. A job's driver is a process of its own; it and the Ray workers see the control plane
through its RPCs alone, never its database nor a path that only one node has. What one stage computes is
`orchestrator.compression`; what is chosen among candidates is `orchestrator.policy`.
"""
