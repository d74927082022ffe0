-- Schedules by calendar: cron expressions with their time zones, beside the interval.

ALTER TABLE workflows ADD COLUMN calendars JSONB NOT NULL DEFAULT '[]';
