"""Weights in the layouts of others: a Hugging Face folder and Megatron-DeepSpeed both ways, DeepSpeed's universal checkpoint in.

Each layout has a reader and, but for the last, a writer; `gate` lets nothing through whose logits on stored probe tokens are not the
source's. Tensors are carried bit by bit: none is cast. `python -m stages.model.exchange FROM TO`; see docs/exchange.md.
"""
