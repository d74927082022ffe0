-- Whom a key may speak for: the owners of workflows that it changes, the users of runs that it starts. NULL: anybody.

ALTER TABLE auth_keys ADD COLUMN owners TEXT[];
