"""The producer's client as a package of its own: `odometer-client`, imported as `odometer`.

    build   makes its wheel from `streams.meter` and the modules that this imports

streams/meter/README.md tells producers how to install and use it.
"""
