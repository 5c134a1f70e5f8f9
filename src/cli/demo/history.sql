-- What had happened before the demo was opened: documents in all states, what was told of them, and chats old and new.
--
-- Runs:   once, by `tidings demo`, in one transaction, and only where the demo's tenants have nothing yet. Before the tables are watched in a
--         database of the demo's own, so that none of this is an event.
-- Writes: the reference tables, with times that lie back. Large files are processed slowly (pipeline.rs), so two of them are on their way
--         for a while after the start.
-- Undo:   delete the rows of tenants acme, globex and initech.

insert into public.documents (tenant_id, uploaded_by, name, mime_type, size, status, stage, progress, error, created_at, updated_at)
select v.tenant, v.sub, v.name, v.mime, v.size, v.status, v.stage, v.progress, v.error::jsonb,
       now() - make_interval(mins => v.minutes), now() - make_interval(mins => v.minutes) + interval '6 s'
  from (values
    ('acme', 'ben', 'Invoice 2041.pdf', 'application/pdf', 184320::bigint, 'processed', null, 100, null, 4300),
    ('acme', 'eve', 'Contract Marlow.docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', 88412, 'processed', null, 100, null, 2900),
    ('acme', 'chloe', 'Floor plan, second storey.png', 'image/png', 2411724, 'processed', null, 100, null, 1610),
    ('acme', 'ben', 'Meeting notes 12 November.docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', 30118, 'processed', null, 100, null, 1450),
    ('acme', 'ada', 'Quarterly report.pdf', 'application/pdf', 5120334, 'processed', null, 100, null, 720),
    ('acme', 'eve', 'Travel expenses.csv', 'text/csv', 9120, 'failed', null, 45, '{"code": "unsupported", "message": "The columns of this file are not known."}', 610),
    ('acme', 'ben', 'Offer 877.pdf', 'application/pdf', 210044, 'processed', null, 100, null, 300),
    ('acme', 'chloe', 'Scan 0031 (damaged).pdf', 'application/pdf', 1048576, 'failed', null, 38, '{"code": "unreadable", "message": "The file is damaged or protected by a password."}', 190),
    ('acme', 'ben', 'Price list 2027.csv', 'text/csv', 66010, 'processed', null, 100, null, 95),
    ('acme', 'eve', 'Safety instructions.pdf', 'application/pdf', 740112, 'processed', null, 100, null, 41),
    ('acme', 'ada', 'Site recordings, October.zip', 'application/zip', 3865470566, 'processing', 'extracting text', 34, null, 9),
    ('acme', 'ben', 'Archive 2019 to 2024.zip', 'application/zip', 4294967296, 'uploaded', null, null, null, 4),
    ('globex', 'esra', 'Blueprint 7.png', 'image/png', 1810221, 'processed', null, 100, null, 1500),
    ('globex', 'femi', 'Orders of last week.csv', 'text/csv', 48100, 'failed', null, 20, '{"code": "unreadable", "message": "The file is damaged or protected by a password."}', 400),
    ('globex', 'esra', 'Lease.pdf', 'application/pdf', 310500, 'processed', null, 100, null, 70),
    ('initech', 'hugo', 'Cover sheet.docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', 12040, 'processed', null, 100, null, 2000),
    ('initech', 'ines', 'Budget.csv', 'text/csv', 20480, 'processed', null, 100, null, 130)
  ) v (tenant, sub, name, mime, size, status, stage, progress, error, minutes);

insert into public.notifications (tenant_id, created_by, type, title, message, metadata, created_at)
select d.tenant_id, d.uploaded_by, 'document_uploaded', 'New Document Uploaded', d.name || ' has been uploaded and is being processed.',
       jsonb_build_object('documentId', d.id, 'documentName', d.name, 'documentType', d.mime_type, 'uploadedBy', d.uploaded_by), d.created_at
  from public.documents d where d.tenant_id in ('acme', 'globex', 'initech')
union all
select d.tenant_id, null, 'document_' || d.status, case d.status when 'processed' then 'Document Processed' else 'Document Processing Failed' end,
       d.name || case d.status when 'processed' then ' has been processed.' else ' could not be processed: ' || (d.error ->> 'message') end,
       jsonb_build_object('documentId', d.id, 'documentName', d.name, 'documentType', d.mime_type, 'uploadedBy', d.uploaded_by, 'error', d.error), d.updated_at
  from public.documents d where d.tenant_id in ('acme', 'globex', 'initech') and d.status in ('processed', 'failed')
union all
select v.tenant, v.sub, v.type, v.title, v.message, '{}', now() - make_interval(mins => v.minutes)
  from (values
    ('acme', null, 'member_joined', 'New colleague', 'Eve Laurent has accepted your invitation.', 5200),
    ('acme', null, 'system_maintenance', 'Maintenance on Sunday', 'Uploads pause from 02:00 to 02:15 UTC.', 3600),
    ('acme', null, 'report_ready', 'Weekly report ready', 'The report of last week can be downloaded.', 2100),
    ('acme', 'ada', 'announcement', 'The office moves on Friday', 'Boxes are in the corridor. Please label yours with your name and your new room.', 1300),
    ('acme', null, 'quota_warning', 'Storage at 80 %', 'Ask an admin for more, or remove what is old.', 900),
    ('acme', null, 'invoice_due', 'Invoice due in 7 days', 'Invoice 2041 of 1 240.00 € is due next week.', 480),
    ('acme', 'chloe', 'mention', 'Chloe mentioned you', '“@team, can somebody look at the second storey before noon?”', 150),
    ('acme', null, 'report_ready', 'Export finished', 'The export of your chats can be downloaded for a day.', 22),
    ('globex', null, 'report_ready', 'Weekly report ready', 'The report of last week can be downloaded.', 800),
    ('globex', 'dmitri', 'announcement', 'Fire drill at 11:00', 'Leave by the stairs, and wait in the car park.', 30),
    ('initech', null, 'system_maintenance', 'Printers are back', 'Thank you for your patience.', 300)
  ) v (tenant, sub, type, title, message, minutes);

-- Ben looks in every day and has not seen the newest; Eve has never opened the bell.
insert into public.notification_reads (tenant_id, user_id, notification_id, read_at, archived_at)
select n.tenant_id, u.id, n.id, case when n.n > 7 then n.created_at + interval '20 min' end, case when n.n > 7 and n.n % 6 = 0 then n.created_at + interval '40 min' end
  from (select t.*, row_number() over (partition by t.tenant_id order by t.created_at desc, t.id desc) as n from public.notifications t) n
  join public.users u on u.tenant_id = n.tenant_id and u.id in ('ben', 'esra', 'hugo')
 where n.n > 4;

create temp table chats on commit drop as
select 'chs_' || replace(gen_random_uuid()::text, '-', '') as id, v.*, now() - make_interval(mins => v.minutes) as began
  from (values
    -- tenant, who asks, subject, status, who answers, minutes ago, seconds waited, script, lines said
    ('acme', 'ben', 'Upload does not finish', 'waiting', null, 2, null::int, 1, 1),
    ('acme', 'eve', 'Two-factor codes are refused', 'waiting', null, 4, null, 2, 1),
    ('acme', 'chloe', 'Can I have the raw text?', 'waiting', null, 7, null, 3, 1),
    ('acme', 'ben', 'Charged twice', 'waiting', null, 12, null, 4, 1),
    ('acme', 'eve', 'Where did my folder go?', 'waiting', null, 19, null, 5, 1),
    ('acme', 'ben', 'Invoice address', 'active', 'ada', 26, 75, 4, 3),
    ('acme', 'eve', 'Scan is upside down', 'active', 'ada', 31, 120, 3, 4),
    ('acme', 'chloe', 'Share with somebody outside', 'active', 'chloe', 38, 48, 5, 5),
    ('acme', 'ben', 'Import from the old system', 'active', 'chloe', 47, 210, 1, 6),
    ('acme', 'eve', 'Page stays white', 'active', null, 52, 33, 2, 3),
    ('acme', 'ben', 'Password of a PDF', 'active', 'ada', 70, 160, 3, 7),
    ('acme', 'eve', 'How do I share a document?', 'ended', 'ada', 130, 40, 5, 8),
    ('acme', 'ben', 'Cannot sign in', 'ended', 'chloe', 180, 65, 2, 8),
    ('acme', 'chloe', 'Export as CSV', 'ended', 'ada', 260, 90, 3, 8),
    ('acme', 'ben', 'Storage is full', 'ended', 'ada', 410, 200, 1, 6),
    ('acme', 'eve', 'Wrong language in e-mails', 'ended', null, 520, null, 4, 1),
    ('acme', 'ben', 'Delete my account?', 'ended', 'chloe', 700, 130, 4, 8),
    ('acme', 'eve', 'Search finds nothing', 'ended', 'ada', 960, 55, 3, 8),
    ('acme', 'chloe', 'Colours of the chart', 'ended', 'chloe', 1300, 300, 5, 4),
    ('acme', 'ben', 'Change the plan', 'ended', 'ada', 1440, 20, 4, 8),
    ('acme', 'eve', 'First steps', 'archived', 'ada', 2900, 35, 5, 8),
    ('acme', 'ben', 'Receipt for October', 'archived', 'chloe', 4300, 80, 4, 8),
    ('acme', 'chloe', 'Slow on Mondays', 'archived', 'ada', 5800, 240, 1, 8),
    ('acme', 'ben', 'Calendar is off by an hour', 'archived', 'chloe', 7200, 100, 2, 8),
    ('acme', 'eve', 'Thanks!', 'archived', 'ada', 8700, 15, 3, 2),
    ('globex', 'esra', 'Blueprint looks blurred', 'waiting', null, 3, null, 3, 1),
    ('globex', 'femi', 'Orders are missing', 'active', 'dmitri', 18, 60, 1, 4),
    ('globex', 'esra', 'Lease in another language', 'ended', 'dmitri', 200, 45, 5, 8),
    ('globex', 'femi', 'Badge does not open the door', 'archived', 'dmitri', 3000, 70, 2, 8),
    ('initech', 'hugo', 'Cover sheets', 'waiting', null, 6, null, 5, 1),
    ('initech', 'ines', 'Red stapler', 'ended', 'greta', 900, 500, 4, 8)
  ) v (tenant, sub, subject, status, assignee, minutes, waited, script, said);

insert into public.chat_sessions (id, tenant_id, user_id, subject, status, assigned_to, created_at, updated_at, started_at, ended_at, last_message_at)
select c.id, c.tenant, c.sub, c.subject, c.status, c.assignee, c.began, c.began + make_interval(secs => coalesce(c.waited, 0) + 40 * c.said),
       c.began + make_interval(secs => c.waited),
       case when c.status in ('ended', 'archived') then c.began + make_interval(secs => coalesce(c.waited, 60) + 40 * c.said) end,
       c.began + make_interval(secs => case when c.said > 1 then coalesce(c.waited, 0) + 40 * (c.said - 1) else 5 end)
  from chats c;

-- Odd lines are the user's. An active chat that is assigned to nobody is answered by the assistant.
insert into public.chat_messages (id, tenant_id, session_id, role, content, author, created_at, updated_at)
select 'msg_' || replace(gen_random_uuid()::text, '-', ''), c.tenant, c.id, case l.n % 2 when 1 then 'user' else 'assistant' end, l.content,
       case l.n % 2 when 1 then c.sub else c.assignee end, t.at, t.at
  from chats c
  join (values
    (1, 1, 'Hello, is somebody there? It has been at 55 % for a while.'),
    (1, 2, 'Hello! Let me have a look at the log.'),
    (1, 3, 'It worked yesterday.'),
    (1, 4, 'We changed something this morning. One moment, please.'),
    (1, 5, 'Should I upload it again?'),
    (1, 6, 'Please do, I am watching from here.'),
    (1, 7, 'That looks better.'),
    (1, 8, 'Good, it has just been processed. Have a good day!'),
    (2, 1, 'I cannot get in. The page says that my code is wrong, but I typed it twice.'),
    (2, 2, 'That often is the clock of the phone. Does it set its time by itself?'),
    (2, 3, 'It does not! It is four minutes late.'),
    (2, 4, 'Then switch that on, please, and wait for the next code.'),
    (2, 5, 'One second.'),
    (2, 6, 'Take your time.'),
    (2, 7, 'I am in. Thank you!'),
    (2, 8, 'You are welcome.'),
    (3, 1, 'The text of my scan is not found when I search for it.'),
    (3, 2, 'Could you tell me the name of the document?'),
    (3, 3, 'Scan 0031, from this morning.'),
    (3, 4, 'I see: it could not be read, because the file is damaged.'),
    (3, 5, 'Can you repair it?'),
    (3, 6, E'I am afraid not. What helps most often:\n- scan it again with 300 dpi\n- save it as PDF/A'),
    (3, 7, 'I will try that, thanks.'),
    (3, 8, 'Tell us how it went!'),
    (4, 1, 'Our address on the invoice is the old one.'),
    (4, 2, 'Happy to change it. What is the new one?'),
    (4, 3, 'Harbour Street 4, third floor.'),
    (4, 4, 'Done. Shall I send the last invoice again?'),
    (4, 5, 'Yes please, to accounts@acme.example.'),
    (4, 6, 'It is on its way.'),
    (4, 7, 'Great, thank you.'),
    (4, 8, 'My pleasure.'),
    (5, 1, 'How do I give a customer one document and nothing else?'),
    (5, 2, 'Open it, choose Share, and make a link.'),
    (5, 3, 'Does the link show other documents in the folder?'),
    (5, 4, 'No, only that one. It ends after a week, unless you choose otherwise.'),
    (5, 5, 'And can I see who has opened it?'),
    (5, 6, 'Yes: under Share, in the list below the link.'),
    (5, 7, 'Perfect.'),
    (5, 8, 'Good luck with your customer!')
  ) l (script, n, content) on l.script = c.script and l.n <= c.said
  cross join lateral (select c.began + make_interval(secs => case l.n when 1 then 5 else coalesce(c.waited, 0) + 40 * (l.n - 1) end) as at) t;
