"""What is asked of Postgres: one function an operation, one .sql file a statement, migrations.

Postgres is the only state, the only queue and the only thing that workers share. Every write after a claim is guarded by the
claim's epoch; an operation that returns False or None says that the claim is no longer ours, and its caller stops.
"""
