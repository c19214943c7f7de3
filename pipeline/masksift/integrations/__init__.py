"""Evidence written where a model runs in a framework: PyTorch, Lightning, Transformers, MMEngine, ONNX Runtime.

Each module imports its framework, so that `import masksift` does not. All of them take an open `EvidenceWriter`.
"""
