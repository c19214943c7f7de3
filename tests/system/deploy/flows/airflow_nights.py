"""Run the DAG in Airflow's environment: configurations as JSON on stdin, task states as the last line of stdout."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta

from airflow.dag_processing.dagbag import DagBag

bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
if bag.import_errors:
    raise SystemExit(str(bag.import_errors))
dag = bag.dags["masksift_nightly"]
for one in dag.tasks:
    one.retry_delay = timedelta(0)
found = []
for night in json.load(sys.stdin):
    os.environ["AIRFLOW_VAR_MASKSIFT_COMMAND"] = night["command"]
    run = dag.test(logical_date=datetime.fromisoformat(night["date"]), run_conf=night["conf"])
    tasks = {one.task_id: [str(one.state), one.try_number] for one in run.get_task_instances()}
    found.append({"state": str(run.state), "tasks": tasks})
sys.stdout.write("\n" + json.dumps(found) + "\n")
