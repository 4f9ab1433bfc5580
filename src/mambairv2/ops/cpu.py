"""Stub."""
import torch
WINDOW=16
DTYPES=(torch.float32, torch.float64)
def unavailable():
    return "not built"
