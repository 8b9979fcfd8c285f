-- It tells that a table's columns changed. A reader wants those behind its moment, too: they say how far back the change may have been.
ALTER TABLE change_segments ADD COLUMN has_alterations boolean NOT NULL DEFAULT false;
