"""SliceChannels, the pass that cuts every tensor to its live channels."""
