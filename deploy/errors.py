"""The errors of starting, operating and sending. The text of each is shown to the user as it is.

DeployError
|-- JarsUnavailable     Kafka's jars cannot be downloaded, or their digests are wrong
|-- PortTaken           another process listens on the port of a server
|-- ServerFailed        a bundled server ended, or did not answer in time
|-- ServerUnreachable   a server that the user named does not answer
|-- AlreadyRunning      `odometer up` runs already in this home directory
|-- DiskTooFull         the disk has too little space to start
|-- NotInstalled        the packages of the bundled servers are not installed
`-- NothingChosen       the command selects nothing, such as an unknown dead letter
"""

from schemas.errors import OdometerError


class DeployError(OdometerError):
    """The command failed. Its text is one sentence for the user, shown without a traceback."""


class JarsUnavailable(DeployError):
    pass


class PortTaken(DeployError):
    pass


class ServerFailed(DeployError):
    pass


class ServerUnreachable(DeployError):
    pass


class AlreadyRunning(DeployError):
    pass


class DiskTooFull(DeployError):
    pass


class NothingChosen(DeployError):
    pass


class NotInstalled(DeployError):
    pass
