//! The journal's turn: step all that waits, append the records, sync once, release the answers. On
//! a disk and in memory, so that their difference is the disk.

use std::cell::RefCell;
use std::path::Path;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion};
use paxosd::paxos::journal::Storage;
use paxosd::storage::{Directory, Identity};
use paxosd::types::{Batch, Role};

use crate::acceptor::Acceptor;
use crate::fixture::{CLUSTER, Commands, SEGMENT_BYTES, node, storage_id, values};
use crate::memory::Memory;

/// How many accepts share one sync.
const ACCEPTS: [u64; 4] = [1, 16, 64, 256];

pub(crate) fn bench(criterion: &mut Criterion) {
    // Beside what is built, because what lies below /tmp may be no disk.
    let place = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .expect("the directory for temporary files can be written");
    let me = Identity { cluster: CLUSTER.to_owned(), node: node(4), role: Role::Acceptor };
    let directory = Directory::open(&place.path().join("acceptor4"), &me)
        .expect("a directory can be created there");
    let segments = directory.segments(SEGMENT_BYTES).expect("segments can be created there");
    let acceptor = Acceptor::formed(directory.storage_id(), segments);
    turns(&mut criterion.benchmark_group("journal on disk"), acceptor);

    let acceptor = Acceptor::formed(storage_id(4), Memory::default());
    turns(&mut criterion.benchmark_group("journal in memory"), acceptor);
}

fn turns<S: Storage>(group: &mut BenchmarkGroup<'_, WallTime>, acceptor: Acceptor<S>) {
    let commands = Commands::default().next();
    let batch = Batch::of(commands.get(..1).unwrap_or_default());
    let acceptor = RefCell::new(acceptor);
    for count in ACCEPTS {
        group.throughput(values(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_batched(
                || acceptor.borrow_mut().accepts(count, &batch),
                |requests| acceptor.borrow_mut().turn(requests),
                BatchSize::SmallInput,
            );
        });
        acceptor.borrow_mut().assert_that_it_votes(count, &batch);
    }
}
