"""Trained models for other programs: StableHLO, TensorFlow's SavedModel, ONNX."""
