"""A plug-in whose library is not installed."""

import no_such_library

Method = no_such_library.Method
