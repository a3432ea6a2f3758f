"""The Open WebUI dialect: /api/v1/analytics, /api/v1/users, /api/v1/groups, /api/v1/auths/add.

    endpoints      the dialect as one application
    analytics      the paths of the analytics
    parameters     their parameters
    first_event    where a range without a start begins
    series         the axis of a series, and the range that it is compared with
    bodies         from rows to their bodies
    users          the paths of users and groups
    errors         Open WebUI's answer to every error
    openapi        the description of the analytics
    users_openapi  the description of users and groups

schemas/contracts/openwebui.md says what its server answers.
"""
