"""Which layout of a training run fits a machine and how fast it is, and how often to save when nodes fail.

`shape` counts a model's weights and operations, `machine` knows accelerators and links, `layout` says how a run is cut up,
`memory` and `speed` predict bytes a device and tokens a second, `choose` ranks layouts, `failures` weighs saving against
losing work. Nothing here imports torch.
"""
