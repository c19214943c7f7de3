"""Review of completed runs: report page, terminal views, checks, comparisons, corrections and exports."""
