"""Bringing models of one's own into the store, and converting them to ONNX for ONNX Runtime GenAI and Foundry Local."""
