"""The demo corpus: articles about invented materials, typeset and then damaged as real folders are."""
