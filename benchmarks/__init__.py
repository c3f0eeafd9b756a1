"""What sessions cost, measured side by side with other libraries; see docs/benchmarks.md."""
