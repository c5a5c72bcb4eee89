"""From a step to the documents that it learned from, and from a document to the steps that saw it.

Nothing about this is stored but a digest a step: the samples of a step are computed anew from the order, and the digest
of what comes out must be the ledger's. A sample of T + 1 tokens gives T inputs; the token after them is the last target
and, mostly, the first input of another sample. So tokens are counted as inputs: a step has `batch_sequences x T` of them,
padding included, and no token of a sample is counted twice.
"""
