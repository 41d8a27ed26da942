"""Third-party networks through gate, compile and verify: torchvision's and timm's (optional)."""
