#!/bin/bash

#PBS -S /bin/bash
#PBS -N parsl.nodes.block-0.TIME
#PBS -m n
#PBS -l walltime=01:00:00
#PBS -l select=2:ncpus=208
#PBS -o RUN/parsl.nodes.block-0.TIME.stdout
#PBS -e RUN/parsl.nodes.block-0.TIME.stderr
#PBS -l filesystems=home:flare
#PBS -l place=scatter
#PBS -k doe

module load frameworks; source /lus/flare/projects/MyProject/borealis/.venv/bin/activate; export TMPDIR='/tmp'; export http_proxy='http://proxy.alcf.anl.gov:3128'; export https_proxy='http://proxy.alcf.anl.gov:3128'; export no_proxy='localhost,127.0.0.1,*.hostmgmt.cm.aurora.alcf.anl.gov,*.alcf.anl.gov'

export JOBNAME="parsl.nodes.block-0.TIME"

process_worker_pool.py  --max_workers_per_node=1 -a 10.0.0.1 -p 0 -c 1.0 -m None --poll 10 --port=54000 --cert_dir None --logdir=RUN/nodes --logconf=LOGGING --block_id=0 --hb_period=30  --hb_threshold=120 --drain_period=3000 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators
