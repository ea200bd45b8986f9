"""What is measured: each workload makes cases, each of which is done by likd and its peers by turns."""
