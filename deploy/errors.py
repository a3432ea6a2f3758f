"""What can go wrong while things are started or sent, each a sentence that a user reads as it stands.

DeployError
|-- JarsUnavailable     Kafka's jars can't be fetched, or are not what the list says
|-- PortTaken           somebody else listens where a server should
|-- ServerFailed        a server of ours ended, or never answered
|-- ServerUnreachable   a server that the user named does not answer as one
|-- AlreadyRunning      a second start beside the first
|-- DiskTooFull         no room to start in
`-- NothingChosen       a command was told to act on what is not there
"""

from schemas.errors import OdometerError


class DeployError(OdometerError):
    """Starting did not work; the text is one sentence for the user, without a traceback."""


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
