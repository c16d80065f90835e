"""The sections of the report, one a file; each makes HTML of a summary and of what a digest kept of the records."""
