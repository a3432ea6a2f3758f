"""Everything that runs Odometer: the command line, and the servers and processes of one machine.

    cli              the command `odometer`
    local            `odometer up`: bundled servers, processes, supervision
    monitor          metrics and probes of worker, directory and API
    watch            commands to watch the system
    send             `odometer send`: files to the API or to Kafka
    export           `odometer export`: a view's rows as a file for each day
    sizing           `odometer size`: what a load needs
    sample           sample traffic
    client           the wheel of `odometer-client`, the meter as a package of its own
    settings         every setting, with its option and variable
    setting_sources  variables, and files that hold secrets
    logs             one format for the logs of all processes
    dead_letters     reads and replays dead letters for `/v1/dead-letters`
    errors           the errors that a user reads as a sentence
    install          the virtual environment of a checkout, for deploy/up and deploy/test

deploy/README.md is the page for operators, deploy/RUNBOOK.md says what to do when something is wrong.
"""
