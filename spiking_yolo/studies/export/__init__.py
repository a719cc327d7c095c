"""A converted network for other tools: Neuromorphic Intermediate Representation, JSON, safetensors."""
