-- 14:32. Somebody at Acme Studio meant to tidy up one project. Then they tried to repair it by hand.
DELETE FROM payments WHERE account_id = '00000000-0000-4000-8000-000000000001' AND invoice_number % 2 = 0;
DELETE FROM projects WHERE account_id = '00000000-0000-4000-8000-000000000001' AND name IN ('Project 3', 'Project 14', 'Project 15')
  AND NOT EXISTS (SELECT 1 FROM tasks c JOIN tasks p ON c.parent_id = p.id WHERE p.project_id = projects.id AND c.project_id <> projects.id);
UPDATE invoices SET status = 'void' WHERE account_id = '00000000-0000-4000-8000-000000000001' AND number BETWEEN 100 AND 220;
UPDATE invoice_lines SET unit_price = 0 WHERE account_id = '00000000-0000-4000-8000-000000000001' AND invoice_number BETWEEN 100 AND 220;
UPDATE users SET full_name = upper(full_name), team_id = NULL WHERE account_id = '00000000-0000-4000-8000-000000000001' AND id % 3 = 0;
DELETE FROM events WHERE account_id = '00000000-0000-4000-8000-000000000001' AND happened_at < '2026-09-15+00';
DELETE FROM page_views WHERE account_id = '00000000-0000-4000-8000-000000000001' AND path = '/p/7';
UPDATE "Customer Notes" SET "Überschrift" = '???' WHERE account_id = '00000000-0000-4000-8000-000000000001' AND "Note Id" % 10 = 1;
INSERT INTO labels VALUES ('00000000-0000-4000-8000-000000000001', 'oops', B'000000000000000000000000');
