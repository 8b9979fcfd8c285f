-- The event triggers of the source that tell of changed columns, as the capture saw them with the tables (recovery's DdlTrigger).
ALTER TABLE capture_epochs ADD COLUMN ddl_trigger jsonb;
