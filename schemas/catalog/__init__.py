"""What is counted: measures, dimensions and views. Pure.

`views.Catalog` is all of it as one value: ours, and what an operator adds.

    measures      each measure, and the event's field that it reads
    views         each view: a set of dimensions, and the measures that it keeps
    sketches      histograms and sets of digests: measures that are no sums
    catalog_file  what an operator adds in a TOML file
    optional_views  views that a setting turns on
"""
