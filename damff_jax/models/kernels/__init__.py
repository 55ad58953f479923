"""Convolution, LSTM and GRU: their arithmetic and its gradients."""
