"""The benchmark of lanes: sending requests, keeping a record of each, and saying what they come to.

    records/       one request as it is kept: in memory, in files, in the database
    analysis/      the figures of records, and what may be said of them
    load/          prompts and times, and the requests that are sent at them
    report/        a summary as text and as a page
    calibration/   the whole measured against a service that knows what it sent

docs/metrics.md defines every figure.
"""
