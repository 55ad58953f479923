"""Convolution, LSTM and GRU: the arithmetic, and how it is differentiated."""
