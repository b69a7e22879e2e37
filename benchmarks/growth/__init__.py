"""How time grows with depth, length and corpus size, and what ingest and index reach.

    python -m benchmarks.growth [PART ...] [--short]

Parts: `size`, `depth`, `length`, `ingest`, `memory`; each keeps its own figures in
`benchmarks/results/growth.json`, so that the long ones can be run alone.
"""
