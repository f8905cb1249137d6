"""The far side, small: takes what gateways send, keeps it in one SQLite file, and accounts for every number.

`Store` (store.py) knows the file, `Shelf` (schemas.py) the published JSON schemas, `collect` (session.py) the broker.
A region can begin with it, and tests account with it for every reading.
"""
