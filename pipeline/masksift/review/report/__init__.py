"""The page that a reviewer looks at: one folder, `report/` in a run's results, that opens from disk or from any static
web server. Its data are chosen and drawn here; what shows them lies in `static/` and is copied as it is."""
