"""Classical detectors: fitted by scikit-learn, then a torch module like every other detector."""
