//! The whole cluster under the simulator, the bytes being its schedule: which faults there are, who
//! is delayed, cut off, stopped or torn, and when. The oracle judges as it does every seed.

use sim::Keeps;
use sim::plan::Plan;
use sim::runner::run_plan;

/// Bytes of a schedule at most: a run makes some ten thousand choices, and the seed makes those
/// that the schedule leaves open.
const SCHEDULE_BYTES_MAX: usize = 16 << 10;

/// Runs a cluster by the schedule `bytes`.
///
/// # Panics
/// When a rule of the oracle is broken.
pub fn run(bytes: &[u8]) {
    let schedule = bytes.get(..SCHEDULE_BYTES_MAX).unwrap_or(bytes);
    let report = run_plan(&Plan::of_schedule(schedule), Keeps::Hash);
    if let Some(violation) = report.violation {
        panic!("the schedule breaks: {violation}");
    }
}
