"""The Siamese network: one encoder for every scan, four ways to train it, and the model folder."""
