"""Container images: one definition a base, one image a stage; see docs/containers.md."""
