//! Planted bugs: the wrong turns that the simulator must notice. No build that ships has them.
//!
//! A site in the code reads `planted(Bug::…)`. Without `cfg(planted)` that is a constant `false`,
//! and the compiler drops the branch; the daemon does not compile with it (`src/main.rs`).
//! `cargo museum` builds the core with it, plants one bug after the other, and counts the seeds
//! until an oracle speaks up.

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $bug:ident,)+) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $what])+ $bug,)+
        }

        impl Bug {
            /// Every bug there is, in the order of their places in the protocol.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => stringify!($bug),)+
                }
            }

            /// What it does, in one sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => concat!($($what),+).trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// An acceptor answers before its journal is synced.
    AnswerBeforeSync,
    /// An acceptor that restarts has forgotten what it promised since its newest segment began.
    ForgetPromise,
    /// An acceptor that restarts takes its votes again, and not what it trimmed.
    ForgetTrim,
    /// An acceptor accepts below its promise.
    AcceptBelowPromise,
    /// An acceptor that accepts does not promise by it.
    AcceptWithoutPromise,
    /// The first page of a promise passes for the whole of it.
    EndAfterOnePage,
    /// An acceptor trims what a single learner has on disk.
    TrimWhatOneHolds,
    /// An acceptor that trims drops one slot more.
    TrimOneTooMany,
    /// An acceptor with a new directory joins the epoch that names the old one.
    WipedVotes,
    /// What an acceptor says of its highest vote leaves out what it accepted lately.
    MarkBelowNewestVote,

    /// A damaged batch is cut as a torn tail, with the good ones behind it.
    CutTheMiddle,
    /// A batch with a wrong checksum is read as if it were whole.
    IgnoreChecksum,
    /// A segment is retired before it is durable that it is no longer needed.
    RetireEarly,
    /// A commit written in parts lets segments go with its first part, which does not say why.
    ReleaseWithFirstPart,

    /// Half of the acceptors are a quorum.
    HalfIsQuorum,
    /// An answer that comes again counts as another acceptor's.
    CountTwice,
    /// Phase 1 needs a majority of the acceptors that can be reached, not of the epoch's.
    TrustReachable,

    /// A proposer prepares again with the ballot it has used.
    ReuseBallot,
    /// Phase 1 counts a promise that was given to another ballot.
    LatePromise,
    /// Of two accepted proposals for a slot the one told first is proposed again, whatever its
    /// ballot.
    SkipHighestAccepted,
    /// A new leader closes every open slot with a no-op.
    NoopOverAccepted,
    /// A new leader proposes new commands from the first open slot on.
    StartInOpenSlots,
    /// A new leader proposes in slots that acceptors have trimmed.
    ProposeBelowTrimmed,
    /// The successor of a leader that leaves goes on without phase 1.
    HandOverWithoutPhase1,
    /// A proposer takes a gateway's message again when it comes again.
    TakeMessageTwice,
    /// A leader tells learners that a proposal is chosen at the first vote for it.
    TellBeforeChosen,
    /// A leader that steps down says of what it has in flight that it was never proposed.
    RefuseInFlight,

    /// A learner adds up votes of different ballots.
    MixBallots,
    /// A learner delivers a value without comparing its digest to the one voted for.
    SkipDigest,
    /// A learner that lacks a slot delivers the one after it in its place.
    DeliverOverGap,
    /// A learner takes the entries of another without looking at their slots.
    TakeAnyEntry,
    /// A learner reports as durable what it has delivered.
    ReportUndurable,
    /// A linearizable read is answered without asking the acceptors.
    ReadWithoutRound,
    /// The first answer of an acceptor is enough for a linearizable read.
    ReadFromOne,
    /// A linearizable read joins a round that began before it arrived.
    ReadJoinsRound,
    /// A linearizable read is answered before the learner has delivered what the round asks for.
    ReadUndelivered,

    /// A learner that starts from its checkpoint has forgotten the sessions.
    ForgetSessions,
    /// A learner that starts from its checkpoint has forgotten the idempotency keys.
    ForgetKeys,
    /// A learner that starts from its checkpoint evicts sessions in another order.
    ForgetRecency,
    /// A command of a session that was evicted is applied.
    ApplyForEvicted,
    /// A cancelled command is applied when it comes after all.
    ForgetCancel,
    /// An idempotency key does not keep a second command from being applied.
    IgnoreKey,
    /// An idempotency key used with another value repeats the first outcome.
    KeyForAnyValue,

    /// A gateway says not applied of a command that a proposer may have proposed.
    DenyInDoubt,
    /// A gateway opens the same session again while its first opening may yet be chosen.
    ReopenSession,
    /// A gateway whose session was evicted sends what may have been applied under a new name.
    RenameInDoubt,
}

/// Whether `bug` is planted: never, in this build.
#[cfg(not(planted))]
#[must_use]
#[inline]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Plants `bug` on this thread, or none; whether this build can: no.
#[cfg(not(planted))]
#[must_use]
pub const fn plant(_: Option<Bug>) -> bool {
    false
}

#[cfg(planted)]
mod picked {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether `bug` is planted on this thread.
    #[must_use]
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        BUG.get() == Some(bug)
    }

    /// Plants `bug` on this thread, or none; whether this build can: yes.
    #[must_use]
    pub fn plant(bug: Option<Bug>) -> bool {
        BUG.set(bug);
        true
    }
}

#[cfg(planted)]
pub use self::picked::{plant, planted};

#[cfg(all(test, not(planted)))]
mod tests {
    use super::*;

    /// The compiler itself knows that no bug is there.
    const NEVER: bool = planted(Bug::AnswerBeforeSync);

    #[test]
    fn a_build_that_ships_has_no_planted_bug_and_can_get_none() {
        const { assert!(!NEVER, "a constant") };
        for &bug in Bug::ALL {
            assert!(!plant(Some(bug)), "{} was planted", bug.name());
            assert!(!planted(bug), "{} is there", bug.name());
        }
    }

    #[test]
    fn every_bug_says_what_it_does() {
        for bug in Bug::ALL {
            assert!(bug.what().ends_with('.'), "{}: {}", bug.name(), bug.what());
        }
    }
}
