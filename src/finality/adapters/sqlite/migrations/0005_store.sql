-- A branch publishes.

ALTER TABLE finality_intent ADD COLUMN ours TEXT NOT NULL DEFAULT '[]'; -- what it published: JSON, by statement
