from glimr_session.testing.contract import *  # noqa: F403
from glimr_session.testing.contract import (
    put,
    flash,
    increment,
    forget,
    regenerate,
    to,
    invalidate,
    run_all,
    Transition,
)  # noqa: F401
