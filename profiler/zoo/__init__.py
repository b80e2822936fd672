"""Networks that others published, measured on a device of yours.

In come the architectures of `published.csv` and torchvision's networks with random weights. Out goes what each takes
here, beside what its authors say of it: a JSON file that `pnag-generate --beside` reads.

Sources of `published.csv`: Guo et al., Pareto-aware Neural Architecture Generation (PNAG), 2022, 15 networks; Cai et
al., Once-for-All, ICLR 2020, the specialised networks that its authors published, 34 of them. `top1` is ImageNet's, in
per cent; `macs_m` and `latency_ms` are what the authors state, where they do.
"""
