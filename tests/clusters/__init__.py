"""Slurm, Ray and S3 for real, on this machine."""
