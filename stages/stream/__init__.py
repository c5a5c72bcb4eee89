"""From a step's number to its tokens: token files, sample orders, mixtures, the loader. Shared by stages, not a stage."""
