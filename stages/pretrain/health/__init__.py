"""Health of a run: spikes of the loss, tensors that stand still, ranks that wait, phases that hang."""
