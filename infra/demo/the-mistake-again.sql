-- 15:31. The clean-up script ran once more.
DELETE FROM task_comments k USING tasks t WHERE t.id = k.task_id AND t.account_id = '00000000-0000-4000-8000-000000000001' AND t.id % 3 = 0;
UPDATE tasks SET title = 'cleaned up' WHERE account_id = '00000000-0000-4000-8000-000000000001' AND id % 2 = 0;
DELETE FROM labels WHERE account_id = '00000000-0000-4000-8000-000000000001' AND name LIKE 'new %';
UPDATE users SET full_name = 'nobody' WHERE account_id = '00000000-0000-4000-8000-000000000001';
DELETE FROM page_views WHERE account_id = '00000000-0000-4000-8000-000000000001' AND path IN ('/p/5', '/p/6');
UPDATE "Customer Notes" SET "Überschrift" = '!!!' WHERE account_id = '00000000-0000-4000-8000-000000000001';
