"""What is measured: each workload makes cases, which likd and its peers do in turn."""
