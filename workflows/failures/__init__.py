"""What went wrong with a task, told apart by class, and what is done about each class.

`classify` names the class and the line that shows it, `policy` says what to do, `recovery` does it while a run goes on and
keeps a line a failure in `log/failures.jsonl` of the stage's folder. docs/failures.md has the table.
"""
