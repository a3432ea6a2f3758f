"""`odometer export`: the rows of one view at one tier in a directory, one file for each UTC day.

    command   options, progress bar and report
    days      which days to write, and why the others are left
    files     the files of a directory: what they hold, and how one is replaced
    fetching  `GET /v1/export`, with retries

A file is replaced in one step. So an export that was killed leaves whole files, and the next run resumes.
"""
