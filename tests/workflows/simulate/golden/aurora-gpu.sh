#!/bin/bash

#PBS -S /bin/bash
#PBS -N parsl.gpu.block-0.TIME
#PBS -m n
#PBS -l walltime=01:00:00
#PBS -l select=1:ncpus=208
#PBS -o RUN/parsl.gpu.block-0.TIME.stdout
#PBS -e RUN/parsl.gpu.block-0.TIME.stderr
#PBS -l filesystems=home:flare
#PBS -l place=scatter
#PBS -k doe

module load frameworks; source /lus/flare/projects/MyProject/borealis/.venv/bin/activate; export TMPDIR='/tmp'; export http_proxy='http://proxy.alcf.anl.gov:3128'; export https_proxy='http://proxy.alcf.anl.gov:3128'; export no_proxy='localhost,127.0.0.1,*.hostmgmt.cm.aurora.alcf.anl.gov,*.alcf.anl.gov'

export JOBNAME="parsl.gpu.block-0.TIME"

set -e
export CORES=$(getconf _NPROCESSORS_ONLN)
[[ "1" == "1" ]] && echo "Found cores : $CORES"
WORKERCOUNT=1
SCRIPT_DIR="RUN"
[[ -d $SCRIPT_DIR ]] || SCRIPT_DIR=""

# Deduplicate the nodefile
HOSTFILE="$JOBNAME.nodes"
if [ -z "$PBS_NODEFILE" ]; then
    echo "localhost" > $HOSTFILE
else
    sort -u $PBS_NODEFILE > $HOSTFILE
fi

cat << MPIEXEC_EOF > ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh
process_worker_pool.py  --max_workers_per_node=12 -a 10.0.0.1 -p 0 -c 1.0 -m None --poll 10 --port=54000 --cert_dir None --logdir=RUN/gpu --logconf=LOGGING --block_id=0 --hb_period=30  --hb_threshold=120 --drain_period=3000 --cpu-affinity list:1-8,105-112:9-16,113-120:17-24,121-128:25-32,129-136:33-40,137-144:41-48,145-152:53-60,157-164:61-68,165-172:69-76,173-180:77-84,181-188:85-92,189-196:93-100,197-204  --mpi-launcher=mpiexec --available-accelerators 0 1 2 3 4 5 6 7 8 9 10 11
MPIEXEC_EOF
chmod u+x ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh

mpiexec --cpu-bind none --ppn 1 -n $WORKERCOUNT --hostfile $HOSTFILE /usr/bin/sh ${SCRIPT_DIR:+$SCRIPT_DIR/}cmd_$JOBNAME.sh

[[ "1" == "1" ]] && echo "All workers done"
