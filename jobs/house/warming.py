"""`warm`: keep the classes that Spark loads in an archive, so that every later step starts some seconds sooner.

A JVM that has loaded Spark's classes once writes them to a file, which later JVMs map into memory (JEP 350, dynamic
class-data sharing). The file fits one Java and one set of jars; a JVM that it does not fit passes it over. It lies
in the environment, and goes with it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs.console import OK, narrate, say
from jobs.house import processes
from jobs.house.environment import QUIET
from jobs.spark import ARCHIVE, java_options

PATIENCE = 120.0  # seconds for the JVM to write its classes
WORDS = "from jobs.house.demo import steps; steps('0.02', ['clean'])"


def run(args: argparse.Namespace) -> int:
    """Clean a very small shop, with an archive as the JVM's last act. Without it all works, only later."""
    home = Path(tempfile.mkdtemp(prefix="endcap-warm-"))
    made = home / "spark.jsa"
    options = java_options(f"-XX:ArchiveClassesAtExit={made}", "-XX:TieredStopAtLevel=1")
    environ = {**os.environ, **QUIET, "ENDCAP_HOME": str(home), "ENDCAP_SPARK_CONF": options}
    try:
        with narrate("keeping Spark's classes"):
            done = subprocess.run([sys.executable, "-c", WORDS], env=environ, capture_output=True, check=False)
            until = time.monotonic() + PATIENCE
            while processes.marked("ENDCAP_SPARK_CONF", options, home) and time.monotonic() < until:
                time.sleep(0.2)  # the JVM writes after Python has gone
            late = processes.end(processes.marked("ENDCAP_SPARK_CONF", options, home))
        if done.returncode or late or not made.is_file():
            say("note: Spark's classes could not be kept; steps start some seconds later")
            return OK
        ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
        unfinished = ARCHIVE.with_name(f".{ARCHIVE.name}.{os.getpid()}")
        shutil.copyfile(made, unfinished)
        unfinished.replace(ARCHIVE)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return OK
